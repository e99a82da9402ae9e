package flowparse

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"unicode/utf8"
)

const (
	maxMessageID = 512 // bytes; a longer one is kept as its hash
	maxUserID    = 512 // bytes; documented are 128 and 256 (kapso-facts.md, section 2)
	maxWaID      = 32  // digits; a phone number has 15
)

// item is one message with what stands around it.
type item struct {
	raw           []byte // the exact bytes
	message       []byte // a token; raw itself for Meta
	conversation  conversation
	phoneNumberID [2][]byte // tokens of the item, in order of preference
	frame         frame
}

// conversation is Kapso's conversation object, as tokens.
type conversation struct {
	id, phoneNumber, userID, contactName, oldContactName, phoneNumberID []byte
}

func readConversation(token []byte) conversation {
	var c conversation
	for m := members(token); m.next(); {
		switch string(m.key) {
		case "id":
			c.id = m.value
		case "phone_number":
			c.phoneNumber = m.value
		case "business_scoped_user_id":
			c.userID = m.value
		case "contact_name":
			c.contactName = m.value
		case "phone_number_id":
			c.phoneNumberID = m.value
		case "kapso":
			c.oldContactName = member(m.value, "contact_name")
		}
	}
	return c
}

// readItem adds one message to the delivery, as what it turns out to be.
func (r *reader) readItem(it *item, contacts *contactList) {
	msg := readMessage(it.message)
	found, reply := msg.judge()
	if found == notOurs {
		r.out.Ignored++
		return
	}
	if r.full() {
		return
	}
	sender := readSender(it, &msg, contacts)
	if it.frame.meta.present {
		it.frame.meta.contact = sender.contact.raw
	}
	if found == unreadable {
		r.rejectItem(it, ReasonUnknownShape, "no readable message in the item")
		return
	}
	response, ok := r.parser.readResponse(it, &msg, &sender, reply)
	if !ok {
		r.rejectItem(it, ReasonBadResponseJSON, "response_json holds no object or list")
		return
	}
	r.out.Responses = append(r.out.Responses, response)
}

func (r *reader) rejectItem(it *item, reason Reason, detail string) {
	if !r.full() {
		r.reject(reason, detail, it.frame.around(it.raw))
	}
}

// readResponse is false if there are no answers to be had.
func (p *Parser) readResponse(it *item, msg *message, from *sender, reply []byte) (Response, bool) {
	var name, responseJSON []byte
	for m := members(reply); m.next(); {
		switch string(m.key) {
		case "name":
			name = m.value
		case "response_json":
			responseJSON = m.value
		}
	}
	answers, status := answersOrFallback(responseJSON, msg.kapso.flowResponse)
	if answers == nil {
		return Response{}, false
	}
	conv := &it.conversation
	response := Response{
		MessageID:        messageKey(msg.id, it.raw),
		FlowToken:        findToken(member(answers, "flow_token"), msg.kapso.flowToken),
		FlowName:         text(name),
		Answers:          answers,
		Status:           status,
		PhoneNumberID:    firstText(it.phoneNumberID[0], it.phoneNumberID[1], conv.phoneNumberID, msg.kapso.phoneNumberID),
		WaID:             from.waID,
		UserID:           from.userID,
		ContactName:      firstText(conv.contactName, conv.oldContactName, msg.kapso.contactName, from.contact.name),
		ConversationID:   firstText(conv.id, msg.kapso.conversationID),
		ContextMessageID: text(msg.contextID),
		SentAt:           parseTime(text(msg.timestamp)),
		Raw:              it.raw,
		frame:            it.frame,
	}
	p.classify(&response, from.waID, from.contact.waID)
	response.readStatedFlow()
	return response, true
}

// messageKey is what a response is stored under, once: the message's id, or the
// hash of it if it cannot be a key, or that of the item if there is none.
func messageKey(id, raw []byte) string {
	key := id
	if isString(id) {
		key = decodeString(id)
	} else if !isNumber(id) {
		key = nil
	}
	switch {
	case len(key) == 0:
		return hashKey(raw)
	case len(key) > maxMessageID || !utf8.Valid(key) || bytes.IndexByte(key, 0) >= 0:
		return hashKey(key)
	}
	return string(key)
}

func hashKey(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
