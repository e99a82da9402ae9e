package kapso

import (
	"cmp"
	"encoding/json"
	"strings"
	"unicode"
)

// FlowMessage is a flow as an interactive message: the input of the SDK's
// messages.sendInteractiveFlow, key for key. It can be sent within 24 hours of
// the person's last message.
type FlowMessage struct {
	Target
	BodyText   string     `json:"bodyText"`             // 1 to 1024 characters
	FooterText string     `json:"footerText,omitempty"` // up to 60
	Header     *Header    `json:"header,omitempty"`
	Parameters Parameters `json:"parameters"`
}

// Target is whom a message goes to, and what else every message has.
type Target struct {
	PhoneNumberID         string `json:"phoneNumberId"`              // the business's number, by its id
	To                    string `json:"to,omitempty"`               // phone number; or else:
	Recipient             string `json:"recipient,omitempty"`        // business-scoped user id; To wins
	RecipientType         string `json:"recipientType,omitempty"`    // individual (default) or group
	ContextMessageID      string `json:"contextMessageId,omitempty"` // wamid of the message that this replies to
	BizOpaqueCallbackData string `json:"bizOpaqueCallbackData,omitempty"`
}

// Header stands above the body: a text of up to 60 characters, or one medium.
// The SDK takes texts only; Meta takes all four (kapso-facts.md, section 4).
type Header struct {
	Type     string `json:"type"` // text, image, video or document
	Text     string `json:"text,omitempty"`
	Image    *Media `json:"image,omitempty"`
	Video    *Media `json:"video,omitempty"`
	Document *Media `json:"document,omitempty"`
}

// Media is an uploaded medium, or the public address of one.
type Media struct {
	ID   string `json:"id,omitempty"`
	Link string `json:"link,omitempty"`
}

// Parameters say which flow is sent and how it opens.
type Parameters struct {
	FlowID             string         `json:"flowId"`
	FlowCTA            string         `json:"flowCta"`                      // the button's text, 1 to 20 characters
	Mode               string         `json:"mode,omitempty"`               // published (default), or draft for a flow that is not
	FlowMessageVersion string         `json:"flowMessageVersion,omitempty"` // 3 unless given
	FlowToken          string         `json:"flowToken,omitempty"`          // comes back with the answer; without one Kapso puts the flow's id
	FlowAction         string         `json:"flowAction,omitempty"`         // navigate (Meta's default) or data_exchange
	FlowActionPayload  *ActionPayload `json:"flowActionPayload,omitempty"`  // for navigate only
}

// ActionPayload is the screen that the flow opens at, and its data.
type ActionPayload struct {
	Screen string          `json:"screen"`
	Data   json.RawMessage `json:"data,omitempty"` // an object with at least a key; its keys are sent in snake_case
}

// The two ways in which a flow opens.
const (
	navigate     = "navigate"
	dataExchange = "data_exchange"
)

// Request checks the message and returns what is sent. Its error is an
// ErrInvalid.
func (m FlowMessage) Request() (Request, error) {
	var r rules
	m.check(&r)
	r.length("bodyText", m.BodyText, 1, maxBody)
	r.length("footerText", m.FooterText, 0, maxFooter)
	if m.Header != nil {
		m.Header.check(&r)
	}
	m.Parameters.check(&r)
	if err := r.err(); err != nil {
		return Request{}, err
	}
	p := m.Parameters
	wire := flowParameters{
		FlowCTA: p.FlowCTA, FlowID: p.FlowID, FlowMessageVersion: p.FlowMessageVersion,
		Mode: p.Mode, FlowToken: p.FlowToken, FlowAction: p.FlowAction,
	}
	if wire.FlowMessageVersion == "" {
		wire.FlowMessageVersion = "3"
	}
	if p.FlowActionPayload != nil {
		data, err := snakeCase("parameters.flowActionPayload.data", p.FlowActionPayload.Data)
		if err != nil {
			return Request{}, err
		}
		wire.FlowActionPayload = &ActionPayload{Screen: p.FlowActionPayload.Screen, Data: data}
	}
	message := m.envelope("interactive")
	message.Interactive = &interactive{
		Type: "flow", Body: text{m.BodyText}, Header: m.Header, Action: flowAction{Name: "flow", Parameters: wire},
	}
	if m.FooterText != "" {
		message.Interactive.Footer = &text{m.FooterText}
	}
	return m.request(message)
}

func (m *Target) check(r *rules) {
	r.needed("phoneNumberId", m.PhoneNumberID)
	r.refuse(m.To == "" && m.Recipient == "", "to", "is missing: give a phone number, or a business-scoped user id as recipient")
	r.oneOf("recipientType", m.RecipientType, "individual", "group")
	r.length("bizOpaqueCallbackData", m.BizOpaqueCallbackData, 0, maxCallback)
}

func (h *Header) check(r *rules) {
	media := map[string]*Media{"image": h.Image, "video": h.Video, "document": h.Document}
	r.needed("header.type", h.Type)
	r.oneOf("header.type", h.Type, "text", "image", "video", "document")
	if h.Type == "text" {
		r.length("header.text", h.Text, 1, maxHeader)
	} else {
		r.refuse(h.Text != "", "header.text", "does not go with the type %q", h.Type)
	}
	for _, kind := range []string{"image", "video", "document"} {
		m, field := media[kind], "header."+kind
		r.refuse(m != nil && h.Type != kind, field, "does not go with the type %q", h.Type)
		r.refuse(h.Type == kind && (m == nil || m.ID == "" && m.Link == ""), field, "needs an id or a link")
	}
}

func (p *Parameters) check(r *rules) {
	r.needed("parameters.flowId", p.FlowID)
	r.length("parameters.flowCta", p.FlowCTA, 1, maxCTA)
	r.oneOf("parameters.mode", p.Mode, "draft", "published")
	r.oneOf("parameters.flowAction", p.FlowAction, navigate, dataExchange)
	payload := p.FlowActionPayload
	if p.FlowAction == dataExchange {
		r.refuse(payload != nil, "parameters.flowActionPayload", "does not go with data_exchange: the flow's endpoint chooses screen and data")
		return
	}
	// Said neither way, the flow opens at its first screen.
	r.refuse(payload == nil && p.FlowAction == navigate || payload != nil && payload.Screen == "",
		"parameters.flowActionPayload.screen", "is missing: navigate needs a screen")
	if payload != nil {
		r.nonEmptyObject("parameters.flowActionPayload.data", payload.Data)
	}
}

// Address is the recipient: the phone number, else the user id.
func (m *Target) Address() string { return cmp.Or(m.To, m.Recipient) }

// number is the recipient as an error of Meta's may repeat it.
func (m *Target) number() string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return r
		}
		return -1
	}, m.To)
}
