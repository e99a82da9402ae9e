package flowparse

import "encoding/json"

const nfmReply = "nfm_reply"

// message is the part of a message that matters here, as tokens.
type message struct {
	id, from, fromUserID, timestamp            []byte
	kind, legacyKind                           []byte // type, and message_type of v1
	direction, interactive, content, contextID []byte
	kapso                                      kapsoNotes
}

// kapsoNotes is what Kapso adds to a message under "kapso", as tokens.
type kapsoNotes struct {
	flowResponse, flowToken, direction         []byte
	contactName, phoneNumberID, conversationID []byte
	fromUserID, scopedUserID, userID           []byte
}

func readMessage(token []byte) message {
	var msg message
	for m := members(token); m.next(); {
		switch string(m.key) {
		case "id":
			msg.id = m.value
		case "from":
			msg.from = m.value
		case "from_user_id":
			msg.fromUserID = m.value
		case "timestamp":
			msg.timestamp = m.value
		case "type":
			msg.kind = m.value
		case "message_type":
			msg.legacyKind = m.value
		case "direction":
			msg.direction = m.value
		case "interactive":
			msg.interactive = m.value
		case "content":
			msg.content = m.value
		case "context":
			msg.contextID = member(m.value, "id")
		case "kapso":
			msg.kapso = readKapsoNotes(m.value)
		}
	}
	return msg
}

func readKapsoNotes(token []byte) kapsoNotes {
	var k kapsoNotes
	for m := members(token); m.next(); {
		switch string(m.key) {
		case "flow_response":
			k.flowResponse = m.value
		case "flow_token":
			k.flowToken = m.value
		case "direction":
			k.direction = m.value
		case "contact_name":
			k.contactName = m.value
		case "phone_number_id":
			k.phoneNumberID = m.value
		case "whatsapp_conversation_id":
			k.conversationID = m.value
		case "from_user_id":
			k.fromUserID = m.value
		case "business_scoped_user_id":
			k.scopedUserID = m.value
		case "user_id":
			k.userID = m.value
		}
	}
	return k
}

// verdict is what a message turns out to be.
type verdict int

const (
	unreadable   verdict = iota // nothing shows what it is
	notOurs                     // a message, but no Flow response
	flowResponse                // a Flow response
)

// judge tells what the message is and, for a Flow response, returns its
// nfm_reply token. A kapso.flow_response proves nothing: it has been seen on a
// button reply (kapso-facts.md, section 2).
func (m *message) judge() (verdict, []byte) {
	if says(m.direction, "outbound") || says(m.kapso.direction, "outbound") {
		return notOurs, nil
	}
	v, reply := judgeInteractive(m.interactive)
	if v == unreadable && m.saysInteractive() {
		// No sample of a v1 Flow response is known; its interactive part may be
		// the content. Text that a person typed is never looked at.
		v, reply = judgeInteractive(embedded(m.content))
	}
	switch {
	case v != unreadable:
		return v, reply
	case m.saysInteractive() || isPresent(m.interactive):
		return unreadable, nil
	case isPresent(m.kind) || isPresent(m.legacyKind) || text(m.id) != "" || isPresent(m.content):
		return notOurs, nil
	}
	return unreadable, nil
}

// saysInteractive tells whether the message calls itself a reply to something
// interactive, of whichever kind.
func (m *message) saysInteractive() bool {
	for _, kind := range [...][]byte{m.kind, m.legacyKind} {
		if says(kind, "interactive") || says(kind, nfmReply) {
			return true
		}
	}
	return false
}

// judgeInteractive tells what an interactive object is by its type; without
// one, an nfm_reply in it is enough.
func judgeInteractive(token []byte) (verdict, []byte) {
	var kind, reply []byte
	for m := members(token); m.next(); {
		switch string(m.key) {
		case "type":
			kind = m.value
		case nfmReply:
			reply = m.value
		}
	}
	named := isString(kind) && !says(kind, "")
	switch {
	case says(kind, nfmReply) || !named && isObject(reply):
		return flowResponse, reply
	case named:
		return notOurs, nil
	}
	return unreadable, nil
}

// embedded returns a token itself, or the JSON that it holds as a string.
func embedded(token []byte) []byte {
	if !isString(token) {
		return token
	}
	decoded := decodeString(token)
	if !json.Valid(decoded) {
		return nil
	}
	return trimSpace(decoded)
}
