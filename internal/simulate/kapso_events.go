package simulate

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// poster posts the events of one message at a time, in the order in which they
// happen.
type poster struct {
	*Kapso
	sender *sender
}

func (k *Kapso) newPoster(transport http.RoundTripper) *poster {
	p := &poster{Kapso: k}
	if k.target != nil {
		p.sender = newSender(&Config{Secret: k.config.Secret, Timeout: DefaultTimeout, Transport: transport}, k.target, nil, nil, nil)
	}
	return p
}

// post posts that a message was sent, delivered and read, and then its answer.
func (p *poster) post(ctx context.Context, send *KapsoSend) {
	if p.sender == nil {
		return
	}
	if !waitUntil(ctx, send.at.Add(p.config.Pause)) {
		return
	}
	for _, status := range []string{"sent", "delivered", "read"} {
		if p.deliver(ctx, p.traffic.statusOf(send, status)) {
			p.count(func(r *KapsoReport) { r.Statuses++ })
		}
	}
	if !waitUntil(ctx, time.Now().Add(p.config.Think)) {
		return
	}
	if p.deliver(ctx, p.traffic.answerTo(send)) {
		p.count(func(r *KapsoReport) { r.Answers++ })
	}
}

// deliver posts one event, again after each wait of Retry until it is answered
// with 200.
func (p *poster) deliver(ctx context.Context, sent Sent) bool {
	p.sender.sign(&sent)
	for attempt := 0; ; attempt++ {
		answer := p.sender.attempt(ctx, &sent)
		if answer.OK() {
			p.count(func(r *KapsoReport) { r.Items.add(answer.Counts) })
			return true
		}
		if attempt == len(p.config.Retry) || !waitUntil(ctx, time.Now().Add(p.config.Retry[attempt])) {
			p.count(func(r *KapsoReport) { r.GivenUp++ })
			return false
		}
	}
}

// statusOf is the event that tells what became of a message. The content of a
// flow message is not in it: nothing shows that Kapso sends it
// (kapso-facts.md, section 4).
func (t *Traffic) statusOf(send *KapsoSend, status string) Sent {
	now := strconv.FormatInt(time.Now().Unix(), 10)
	kind := "interactive"
	if send.Template != "" {
		kind = "template"
	}
	m, _ := t.messageFor(send)
	body, _ := json.Marshal(map[string]any{ // strings alone: it cannot fail
		"message": map[string]any{
			"id": send.Wamid, "to": m.phone, "timestamp": now, "type": kind,
			"kapso": map[string]any{
				"direction": "outbound", "status": status, "processing_status": "completed", "origin": "cloud_api", "has_media": false,
				"phone_number_id": send.PhoneNumberID,
				"statuses":        []any{map[string]string{"id": send.Wamid, "status": status, "timestamp": now, "recipient_id": m.phone}},
			},
		},
		"conversation": map[string]any{
			"id": m.conversation, "phone_number": "+" + m.phone, "business_scoped_user_id": m.userID,
			"status": "active", "phone_number_id": send.PhoneNumberID,
		},
		"is_new_conversation": false,
		"phone_number_id":     send.PhoneNumberID,
	})
	return Sent{Body: body, Header: newHeader("whatsapp.message."+status, m.random)}
}

// answerTo is the answered form: its context names the message, and it holds
// the message's token.
func (t *Traffic) answerTo(send *KapsoSend) Sent {
	m, r := t.messageFor(send)
	answered := &t.forms[r.below(len(t.forms))]
	for i := range t.forms {
		if t.forms[i].flowID == send.FlowID {
			answered = &t.forms[i]
		}
	}
	m.answers = m.append(nil, answered.answers)
	return Sent{Body: m.appendItem(nil, t.reply), Header: newHeader(eventReceived, r)}
}

// messageFor starts the person's side of a message. The same message has the
// same person every time.
func (t *Traffic) messageFor(send *KapsoSend) (message, *random) {
	seed := t.seed
	for _, c := range []byte(send.Wamid) {
		seed = mix64(seed ^ uint64(c))
	}
	r := random(seed)
	p := t.newPerson(&r)
	p.number = businessNumber{id: send.PhoneNumberID, display: t.numbers[0].display}
	if send.To != "" {
		p.phone = send.To
	}
	if send.UserID != "" {
		p.userID = inString(send.UserID)
	}
	m := t.newMessage(0, 0, &p, &r)
	m.id = string(appendWamid(nil, p.phone, r.next(), r.next()))
	m.sentAt = time.Now().UTC()
	copy(m.iso[:], m.sentAt.Format(isoForm))
	m.token, m.context = inString(send.FlowToken), send.Wamid
	return m, &r
}

// inString makes a text fit for the inside of a JSON string.
func inString(text string) string {
	quoted, _ := json.Marshal(text) // a string cannot fail
	return string(quoted[1 : len(quoted)-1])
}
