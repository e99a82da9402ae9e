package kapso

import "encoding/json"

// envelope is a message as it goes over the wire: the body that the SDK sends
// (kapso-facts.md, section 4).
type envelope struct {
	MessagingProduct      string        `json:"messaging_product"`
	RecipientType         string        `json:"recipient_type"`
	To                    string        `json:"to,omitempty"`
	Recipient             string        `json:"recipient,omitempty"`
	Type                  string        `json:"type"`
	Interactive           *interactive  `json:"interactive,omitempty"`
	Template              *wireTemplate `json:"template,omitempty"`
	Context               *replyTo      `json:"context,omitempty"`
	BizOpaqueCallbackData string        `json:"biz_opaque_callback_data,omitempty"`
}

type replyTo struct {
	MessageID string `json:"message_id"`
}

type interactive struct {
	Type   string     `json:"type"`
	Header *Header    `json:"header,omitempty"`
	Body   text       `json:"body"`
	Footer *text      `json:"footer,omitempty"`
	Action flowAction `json:"action"`
}

type text struct {
	Text string `json:"text"`
}

type flowAction struct {
	Name       string         `json:"name"`
	Parameters flowParameters `json:"parameters"`
}

type flowParameters struct {
	FlowCTA            string         `json:"flow_cta"`
	FlowID             string         `json:"flow_id"`
	FlowMessageVersion string         `json:"flow_message_version"`
	Mode               string         `json:"mode,omitempty"`
	FlowToken          string         `json:"flow_token,omitempty"`
	FlowAction         string         `json:"flow_action,omitempty"`
	FlowActionPayload  *ActionPayload `json:"flow_action_payload,omitempty"`
}

type wireTemplate struct {
	Name       string          `json:"name"`
	Language   Language        `json:"language"`
	Components json.RawMessage `json:"components,omitempty"`
}

func (m *Target) envelope(kind string) envelope {
	e := envelope{
		MessagingProduct: "whatsapp", RecipientType: "individual", To: m.To, Recipient: m.Recipient,
		Type: kind, BizOpaqueCallbackData: m.BizOpaqueCallbackData,
	}
	if m.RecipientType != "" {
		e.RecipientType = m.RecipientType
	}
	if m.ContextMessageID != "" {
		e.Context = &replyTo{m.ContextMessageID}
	}
	return e
}

func (m *Target) request(message envelope) (Request, error) {
	body, err := encode(message)
	return Request{
		Path: []string{m.PhoneNumberID, "messages"}, Body: body,
		hide: []string{m.To, m.number(), m.Recipient},
	}, err
}
