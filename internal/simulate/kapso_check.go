package simulate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// kapsoMessage is a message as Kapso's proxy takes it (kapso-facts.md, section
// 4). These structs are written from the documents and share nothing with the
// client, so that each checks the other.
type kapsoMessage struct {
	MessagingProduct string            `json:"messaging_product"`
	RecipientType    string            `json:"recipient_type"`
	To               string            `json:"to"`
	Recipient        string            `json:"recipient"`
	Type             string            `json:"type"`
	Interactive      *kapsoInteractive `json:"interactive"`
	Template         *kapsoTemplate    `json:"template"`
	Callback         string            `json:"biz_opaque_callback_data"`
	Context          *struct {
		MessageID string `json:"message_id"`
	} `json:"context"`
}

type kapsoText struct {
	Text string `json:"text"`
}

type kapsoInteractive struct {
	Type   string          `json:"type"`
	Header json.RawMessage `json:"header"`
	Body   kapsoText       `json:"body"`
	Footer *kapsoText      `json:"footer"`
	Action struct {
		Name       string `json:"name"`
		Parameters struct {
			Version string  `json:"flow_message_version"`
			FlowID  string  `json:"flow_id"`
			CTA     string  `json:"flow_cta"`
			Mode    string  `json:"mode"`
			Token   *string `json:"flow_token"`
			Action  string  `json:"flow_action"`
			Payload *struct {
				Screen string          `json:"screen"`
				Data   json.RawMessage `json:"data"`
			} `json:"flow_action_payload"`
		} `json:"parameters"`
	} `json:"action"`
}

// expect returns an error that names the first field for which ok is false.
func expect(field string, ok bool) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%s is missing or not allowed as it is", field)
}

func within(s string, least, most int) bool {
	n := utf8.RuneCountInString(s)
	return n >= least && n <= most
}

func oneOf(s string, words ...string) bool { return slices.Contains(words, s) }

// readKapsoMessage returns a message whose every field was checked.
func readKapsoMessage(body []byte) (m kapsoMessage, err error) {
	if err := noCamelCase(body); err != nil {
		return m, err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if json.Unmarshal(body, &m) == nil && m.Template == nil { // templates have many more kinds of parts
		decoder.DisallowUnknownFields()
	}
	if err := decoder.Decode(&m); err != nil {
		return m, err
	}
	interactive, template := m.Type == "interactive" && m.Interactive != nil, m.Type == "template" && m.Template != nil
	if err := errors.Join(
		expect("messaging_product", m.MessagingProduct == "whatsapp"),
		expect("recipient_type", oneOf(m.RecipientType, "individual", "group")),
		expect("to", len(m.digits()) <= 20 && (m.digits() != "" || m.To == "" && m.Recipient != "")),
		expect("biz_opaque_callback_data", within(m.Callback, 0, 512)),
		expect("context.message_id", m.Context == nil || m.Context.MessageID != ""),
		expect("type", interactive != template),
	); err != nil {
		return m, err
	}
	if template {
		return m, m.Template.check()
	}
	return m, m.Interactive.check()
}

func (i *kapsoInteractive) check() error {
	p := &i.Action.Parameters
	navigates := p.Payload == nil && p.Action == "" || p.Payload != nil && p.Payload.Screen != "" && p.Action != "data_exchange"
	return errors.Join(
		expect("interactive.type", i.Type == "flow"),
		expect("interactive.body.text", within(i.Body.Text, 1, 1024)),
		expect("interactive.footer.text", i.Footer == nil || within(i.Footer.Text, 1, 60)),
		expect("interactive.header", i.headerFits()),
		expect("interactive.action.name", i.Action.Name == "flow"),
		expect("interactive.action.parameters.flow_message_version", p.Version == "3"),
		expect("interactive.action.parameters.flow_id", digitsOnly(p.FlowID)),
		expect("interactive.action.parameters.flow_cta", within(p.CTA, 1, 20)),
		expect("interactive.action.parameters.mode", oneOf(p.Mode, "", "draft", "published")),
		expect("interactive.action.parameters.flow_token", p.Token == nil || *p.Token != ""),
		expect("interactive.action.parameters.flow_action", oneOf(p.Action, "", "navigate", "data_exchange")),
		expect("interactive.action.parameters.flow_action_payload", navigates || p.Action == "data_exchange" && p.Payload == nil),
		expect("interactive.action.parameters.flow_action_payload.data", p.Payload == nil || filled(p.Payload.Data)),
	)
}

// headerFits wants a short text or a medium under the name of its type.
func (i *kapsoInteractive) headerFits() bool {
	if i.Header == nil {
		return true
	}
	var h struct {
		Type, Text             string
		Image, Video, Document *struct {
			ID, Link string
		}
	}
	if json.Unmarshal(i.Header, &h) != nil {
		return false
	}
	medium := h.Image
	switch h.Type {
	case "text":
		return within(h.Text, 1, 60)
	case "video":
		medium = h.Video
	case "document":
		medium = h.Document
	}
	return oneOf(h.Type, "image", "video", "document") && medium != nil && medium.ID+medium.Link != ""
}

func (m *kapsoMessage) digits() string {
	return strings.NewReplacer("+", "", " ", "", "-", "").Replace(m.To)
}

func (m *kapsoMessage) flowID() string {
	if m.Interactive == nil {
		return ""
	}
	return m.Interactive.Action.Parameters.FlowID
}

func (m *kapsoMessage) flowToken() string {
	if m.Interactive != nil {
		if token := m.Interactive.Action.Parameters.Token; token != nil {
			return *token
		}
		return ""
	}
	for _, c := range m.Template.Components {
		for _, p := range c.Parameters {
			if p.Action != nil && p.Action.Token != "" {
				return p.Action.Token
			}
		}
	}
	return ""
}

func (m *kapsoMessage) templateName() string {
	if m.Template == nil {
		return ""
	}
	return m.Template.Name
}

// filled wants an object with at least a key, or nothing.
func filled(data json.RawMessage) bool {
	var object map[string]json.RawMessage
	return data == nil || json.Unmarshal(data, &object) == nil && len(object) > 0
}

// noCamelCase finds a key that was not turned into snake_case on its way.
func noCamelCase(body []byte) error {
	key := regexp.MustCompile(`"[A-Za-z0-9_]*[a-z0-9][A-Z][A-Za-z0-9_]*"\s*:`).Find(body)
	if key != nil {
		return fmt.Errorf("%s is not in snake_case", key[:min(len(key), 40)])
	}
	return nil
}
