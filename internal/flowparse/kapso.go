package flowparse

import "bytes"

const (
	messagePrefix   = "whatsapp.message."
	messageReceived = messagePrefix + "received"
)

// maxWrappers is how many objects may stand around a Kapso body, as in
// {"event":…,"data":{…}} (kapso-facts.md, section 1, "v1 legacy").
const maxWrappers = 2

// event is what an event name means to us.
type event int

const (
	eventUnnamed event = iota
	eventReceived
	eventOther
	eventSent // from here on: how far a message of ours got
	eventDelivered
	eventRead
	eventFailed
)

func eventNamed(name []byte) event {
	switch string(name) {
	case "":
		return eventUnnamed
	case messageReceived:
		return eventReceived
	case messagePrefix + string(StateSent):
		return eventSent
	case messagePrefix + string(StateDelivered):
		return eventDelivered
	case messagePrefix + string(StateRead):
		return eventRead
	case messagePrefix + string(StateFailed):
		return eventFailed
	}
	return eventOther
}

// notReceived says whether an event brings no message of a person's.
func (e event) notReceived() bool { return e >= eventOther }

// state returns how far a message of ours got, if the event says so.
func (e event) state() SendState {
	switch e {
	case eventSent:
		return StateSent
	case eventDelivered:
		return StateDelivered
	case eventRead:
		return StateRead
	case eventFailed:
		return StateFailed
	}
	return ""
}

// or returns the event of something that stands inside what has the event outer.
func (e event) or(outer event) event {
	if e == eventUnnamed {
		return outer
	}
	return e
}

// level is one object of a body: the root, what a wrapper holds, or a batch
// item. The rest are tokens.
type level struct {
	event         event
	object        []byte
	entry         []byte
	message       []byte
	conversation  []byte
	phoneNumberID []byte
	config        []byte
	contacts      []byte
	data          []byte
	payload       []byte
}

func readLevel(token []byte) level {
	var l level
	var name, kind []byte
	for m := members(token); m.next(); {
		switch string(m.key) {
		case "event":
			name = m.value
		case "type":
			kind = m.value
		case "object":
			l.object = m.value
		case "entry":
			l.entry = m.value
		case "message":
			l.message = m.value
		case "conversation":
			l.conversation = m.value
		case "phone_number_id":
			l.phoneNumberID = m.value
		case "whatsapp_config":
			l.config = m.value
		case "contacts":
			l.contacts = m.value
		case "data":
			l.data = m.value
		case "payload":
			l.payload = m.value
		}
	}
	l.event = readEvent(name, kind)
	return l
}

// readEvent prefers event to type, which is an event's name only if it looks
// like one.
func readEvent(name, kind []byte) event {
	if isString(name) {
		if e := eventNamed(decodeString(name)); e != eventUnnamed {
			return e
		}
	}
	if isString(kind) {
		if k := decodeString(kind); bytes.HasPrefix(k, []byte("whatsapp.")) {
			return eventNamed(k)
		}
	}
	return eventUnnamed
}

func (l *level) isMeta() bool    { return says(l.object, metaObject) }
func (l *level) isMessage() bool { return !l.isMeta() && isObject(l.message) }
func (l *level) isBatch() bool   { return !l.isMeta() && !isObject(l.message) && isArray(l.data) }

// unwrap reads an object or, if it is only a wrapper, what is in it.
func unwrap(token []byte) level {
	l := readLevel(token)
	for range maxWrappers {
		if l.isMeta() || l.isMessage() || l.isBatch() {
			break
		}
		inner := l.data
		if !isObject(inner) {
			inner = l.payload
		}
		if !isObject(inner) {
			break
		}
		l = readLevel(inner).within(&l)
	}
	return l
}

// within takes from a wrapper what the object in it does not say.
func (l level) within(outer *level) level {
	l.event = l.event.or(outer.event)
	if l.conversation == nil {
		l.conversation = outer.conversation
	}
	if l.phoneNumberID == nil {
		l.phoneNumberID = outer.phoneNumberID
	}
	if l.config == nil {
		l.config = outer.config
	}
	if l.contacts == nil {
		l.contacts = outer.contacts
	}
	return l
}

func (r *reader) readBody() {
	l := unwrap(trimSpace(r.body))
	switch {
	case l.isMeta():
		r.readMeta(&l)
	case l.isBatch():
		r.readBatch(&l)
	case l.event.or(r.hint).notReceived():
		r.readKapsoStatus(&l, l.event.or(r.hint))
	case l.isMessage():
		r.readKapso(&l, &item{raw: r.body})
	default:
		r.reject(ReasonUnknownShape, "no message in the body", r.body)
	}
}

// readBatch reads each item on its own. A batch without items keeps nothing,
// provided that an event's name shows it to be a batch; without one, it is some
// other object that happens to have an empty list, and goes to quarantine whole.
func (r *reader) readBatch(batch *level) {
	empty := true
	for a := elements(batch.data); a.next(); {
		empty = false
		r.readBatchItem(a.value, batch.event)
	}
	if empty && batch.event.or(r.hint) == eventUnnamed {
		r.reject(ReasonUnknownShape, "an empty list and no event name", r.body)
	}
}

func (r *reader) readBatchItem(token []byte, batchEvent event) {
	l := unwrap(token)
	if e := l.event.or(batchEvent).or(r.hint); e.notReceived() {
		r.readKapsoStatus(&l, e)
		return
	}
	it := item{raw: token}
	// The batch overrules a header that would misname the item when it is alone.
	it.frame.batch = r.hint.notReceived() && l.event == eventUnnamed
	switch {
	case l.isMessage():
		r.readKapso(&l, &it)
	case l.isMeta() || l.isBatch():
		it.frame.batch = true
		r.rejectItem(&it, ReasonUnknownShape, "a delivery inside a batch")
	default:
		r.rejectItem(&it, ReasonUnknownShape, "no message in the batch item")
	}
}

// readKapso reads the message of a single body or a batch item.
func (r *reader) readKapso(l *level, it *item) {
	it.message = l.message
	it.conversation = readConversation(l.conversation)
	it.phoneNumberID = [2][]byte{l.phoneNumberID, nil}
	if l.config != nil {
		it.phoneNumberID[1] = member(l.config, "phone_number_id")
	}
	contacts := readContacts(l.contacts)
	r.readItem(it, &contacts)
}
