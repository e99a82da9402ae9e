package flowparse

const metaObject = "whatsapp_business_account"

// readMeta reads Meta's own body (kapso-facts.md, section 3), from whichever
// route it came. It names no event, and a header does not speak for it.
func (r *reader) readMeta(root *level) {
	r.out.Source = SourceMeta
	if !isArray(root.entry) {
		r.reject(ReasonUnknownShape, "entry is not a list", r.body)
		return
	}
	for a := elements(root.entry); a.next(); {
		r.readEntry(a.value)
	}
}

func (r *reader) readEntry(token []byte) {
	var id, changes []byte
	for m := members(token); m.next(); {
		switch string(m.key) {
		case "id":
			id = m.value
		case "changes":
			changes = m.value
		}
	}
	if !isArray(changes) {
		if !r.full() {
			r.reject(ReasonUnknownShape, "an entry has no list of changes", aroundEntry(token))
		}
		return
	}
	around := metaFrame{present: true, entryID: carried(id)}
	for a := elements(changes); a.next(); {
		r.readChange(a.value, around)
	}
}

// readChange reads one change. Fields other than messages are account updates,
// templates and the like: one ignored item each.
func (r *reader) readChange(token []byte, around metaFrame) {
	var field, value []byte
	for m := members(token); m.next(); {
		switch string(m.key) {
		case "field":
			field = m.value
		case "value":
			value = m.value
		}
	}
	if isString(field) && !says(field, "messages") {
		r.out.Ignored++
		return
	}
	v := readValue(value)
	if !v.known() {
		if !r.full() {
			r.reject(ReasonUnknownShape, "a change has no messages, statuses or errors", around.aroundChange(token))
		}
		return
	}
	around.metadata = carried(v.metadata)
	r.readMessages(&v, around)
}

// metaValue is the value of a change, as tokens.
type metaValue struct {
	metadata, contacts, messages, statuses, errors []byte
}

func readValue(token []byte) metaValue {
	var v metaValue
	for m := members(token); m.next(); {
		switch string(m.key) {
		case "metadata":
			v.metadata = m.value
		case "contacts":
			v.contacts = m.value
		case "messages":
			v.messages = m.value
		case "statuses":
			v.statuses = m.value
		case "errors":
			v.errors = m.value
		}
	}
	return v
}

func (v *metaValue) known() bool {
	return isPresent(v.messages) || isPresent(v.statuses) || isPresent(v.errors)
}

// readMessages reads the messages of a change and counts the rest of it: each
// status and error, but one in all if it holds nothing.
func (r *reader) readMessages(v *metaValue, around metaFrame) {
	messages := 0
	if isPresent(v.messages) && !isArray(v.messages) {
		messages = 1
		if !r.full() {
			r.reject(ReasonUnknownShape, "messages is not a list", around.aroundMessages(v.messages))
		}
	}
	contacts := readContacts(v.contacts)
	phoneNumberID := member(around.metadata, "phone_number_id")
	for a := elements(v.messages); a.next(); messages++ {
		it := item{raw: a.value, message: a.value, frame: frame{meta: around}}
		it.phoneNumberID[0] = phoneNumberID
		r.readItem(&it, &contacts)
	}
	others := r.readMetaStatuses(v.statuses, phoneNumberID) + count(v.errors)
	if messages+others == 0 {
		others = 1
	}
	r.out.Ignored += others
}
