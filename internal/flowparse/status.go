package flowparse

import (
	"cmp"
	"encoding/json"
	"time"
)

// SendState is how far a message of ours got.
type SendState string

// The states, in their order. Kapso names its events after them.
const (
	StateSent      SendState = "sent"
	StateFailed    SendState = "failed"
	StateDelivered SendState = "delivered"
	StateRead      SendState = "read"
)

// SendStatus is what a provider tells of one message that we sent. No more is
// read of such an event than what is here. Every string is fit for the columns of
// flow_sends; an empty one means that the sender did not say.
type SendStatus struct {
	Wamid         string
	State         SendState
	At            time.Time // when it got there; zero if unreadable
	Failure       string    // Meta's error code, digits; for StateFailed
	PhoneNumberID string

	// The flow that the message carries. Nobody promises that an event says so
	// (kapso-facts.md, section 4); without a FlowID the rest is not read.
	FlowID    string
	FlowToken string
	Recipient string // digits, or a business-scoped user id
	Template  string
	SentAt    time.Time // the message's own time; zero if the event does not say
}

// What flow_sends holds at most, in bytes, and the digits of an error code.
const (
	maxSentFlow  = 200
	maxSentToken = 1024
	maxSentOther = 512
	maxErrorCode = 10
)

// readKapsoStatus counts an item of an event other than received, and reads what
// it says of a message of ours.
func (r *reader) readKapsoStatus(l *level, e event) {
	r.out.Ignored++
	if e.state() == "" || !isObject(l.message) {
		return
	}
	s := SendStatus{State: e.state(), PhoneNumberID: bounded(text(l.phoneNumberID), maxSentOther)}
	var at, history, kapsoDirection, direction []byte
	for m := members(l.message); m.next(); {
		switch string(m.key) {
		case "id":
			s.Wamid = wamid(m.value)
		case "timestamp":
			at = m.value
		case "direction":
			direction = m.value
		case "errors":
			s.Failure = errorCode(m.value)
		case "kapso":
			kapsoDirection, history = member(m.value, "direction"), member(m.value, "statuses")
		}
	}
	if says(direction, "inbound") || says(kapsoDirection, "inbound") {
		return
	}
	s.At = parseTime(text(at))
	sentAt := s.At
	for a := elements(history); a.next(); { // Meta's own, of which one is this
		told := readMetaStatus(a.value)
		if told.At.IsZero() {
			continue
		}
		if told.State == StateSent && (sentAt.IsZero() || told.At.Before(sentAt)) {
			sentAt = told.At
		}
		if told.State == s.State {
			s.At, s.Failure = told.At, cmp.Or(told.Failure, s.Failure)
		}
	}
	if s.readFlow(l.message); s.FlowID != "" {
		s.SentAt = sentAt
	}
	r.addStatus(&s)
}

// readMetaStatuses reads the statuses of a change and returns their number.
func (r *reader) readMetaStatuses(token, phoneNumberID []byte) (n int) {
	for a := elements(token); a.next(); n++ {
		s := readMetaStatus(a.value)
		s.PhoneNumberID = bounded(text(phoneNumberID), maxSentOther)
		r.addStatus(&s)
	}
	return n
}

// addStatus keeps a status that says something, as far as a delivery may hold
// so many.
func (r *reader) addStatus(s *SendStatus) {
	if s.State != StateFailed {
		s.Failure = ""
	}
	if s.Wamid != "" && s.State != "" && len(r.out.Statuses) < maxKept {
		r.out.Statuses = append(r.out.Statuses, *s)
	}
}

func readMetaStatus(token []byte) (s SendStatus) {
	for m := members(token); m.next(); {
		switch string(m.key) {
		case "id":
			s.Wamid = wamid(m.value)
		case "status":
			s.State = eventNamed([]byte(messagePrefix + text(m.value))).state()
		case "timestamp":
			s.At = parseTime(text(m.value))
		case "errors":
			s.Failure = errorCode(m.value)
		}
	}
	return s
}

// readFlow reads the flow of an interactive message, or of a template's button.
func (s *SendStatus) readFlow(message []byte) {
	var to, recipient, interactive, template []byte
	for m := members(message); m.next(); {
		switch string(m.key) {
		case "to":
			to = m.value
		case "recipient":
			recipient = m.value
		case "interactive":
			interactive = m.value
		case "template":
			template = m.value
		}
	}
	parameters := member(member(interactive, "action"), "parameters")
	if parameters == nil {
		parameters = templateAction(template)
	}
	if s.FlowID = bounded(text(member(parameters, "flow_id")), maxSentFlow); s.FlowID == "" {
		return
	}
	s.FlowToken = bounded(text(member(parameters, "flow_token")), maxSentToken)
	s.Template = bounded(text(member(template, "name")), maxSentOther)
	if s.Recipient = phoneDigits(to); s.Recipient == "" {
		if id := userID(recipient); id != "" && 'a' <= id[0]|0x20 && id[0]|0x20 <= 'z' {
			s.Recipient = id
		}
	}
}

// templateAction returns the action of a template's flow button.
func templateAction(template []byte) (action []byte) {
	for c := elements(member(template, "components")); c.next(); {
		for p := elements(member(c.value, "parameters")); p.next(); {
			if a := member(p.value, "action"); isObject(a) {
				action = a
			}
		}
	}
	return action
}

// wamid returns the id of a message as it is registered, or "".
func wamid(token []byte) string {
	if !isString(token) {
		return ""
	}
	id := string(decodeString(token))
	if cleanText(id) != id {
		return ""
	}
	return bounded(id, maxMessageID)
}

// bounded returns a text if it is short enough, else "".
func bounded(s string, most int) string {
	if len(s) > most {
		return ""
	}
	return s
}

// errorCode returns the code of the first error in a list.
func errorCode(token []byte) string {
	a := elements(token)
	if !a.next() {
		return ""
	}
	code := bounded(text(member(a.value, "code")), maxErrorCode)
	if !onlyDigits(code) {
		return ""
	}
	return code
}

// Envelope returns a body that Parse reads to this one SendStatus: nothing of
// the event that is not in it.
func (s *SendStatus) Envelope() []byte {
	var history []any
	tell := func(state SendState, at time.Time) {
		if !at.IsZero() {
			history = append(history, map[string]any{"status": state, "timestamp": at.Format(time.RFC3339Nano)})
		}
	}
	tell(StateSent, s.SentAt)
	tell(s.State, s.At) // last: of two times of one state, that is read
	message := map[string]any{"id": s.Wamid, "kapso": map[string]any{"statuses": history}}
	if s.Failure != "" {
		message["errors"] = []any{map[string]any{"code": s.Failure}}
	}
	if s.FlowID != "" {
		message["to"], message["recipient"] = s.Recipient, s.Recipient
		message["interactive"] = map[string]any{"action": map[string]any{
			"parameters": map[string]any{"flow_id": s.FlowID, "flow_token": s.FlowToken},
		}}
		message["template"] = map[string]any{"name": s.Template}
	}
	body, _ := json.Marshal(map[string]any{ // strings always marshal
		"event": messagePrefix + string(s.State), "phone_number_id": s.PhoneNumberID, "message": message,
	})
	return body
}
