package kapso

import (
	"encoding/json"
	"fmt"
)

// NewTemplate is a template to be created: the input of the SDK's
// templates.create.
type NewTemplate struct {
	BusinessAccountID    string      `json:"businessAccountId"`
	Name                 string      `json:"name"`
	Language             string      `json:"language"`
	Category             string      `json:"category"` // UTILITY, MARKETING or AUTHENTICATION
	ParameterFormat      string      `json:"parameterFormat"`
	AllowCategoryChange  *bool       `json:"allowCategoryChange"`
	Components           []Component `json:"components"`
	QualityScoreCategory string      `json:"qualityScoreCategory"`
}

// Button is a template's FLOW button. It names its flow in exactly one of three
// ways.
type Button struct {
	Type           string `json:"type"`               // FLOW
	Text           string `json:"text,omitempty"`     // 1 to 25 characters
	FlowID         string `json:"flowId,omitempty"`   // a published flow, or
	FlowName       string `json:"flowName,omitempty"` // its name, or
	FlowJSON       string `json:"flowJson,omitempty"` // a flow's definition
	FlowAction     string `json:"flowAction,omitempty"`
	NavigateScreen string `json:"navigateScreen,omitempty"` // for navigate only
}

// FlowTemplate returns the components of a template with a body and one FLOW
// button.
func FlowTemplate(body string, button Button) ([]Component, error) {
	button.Type = "FLOW"
	first, err := encode(map[string]any{"type": "BODY", "text": body})
	if err != nil {
		return nil, err
	}
	second, err := encode(map[string]any{"type": "BUTTONS", "buttons": []Button{button}})
	return []Component{first, second}, err
}

// newTemplate is a NewTemplate as it goes over the wire.
type newTemplate struct {
	Name                 string          `json:"name"`
	Language             string          `json:"language"`
	Category             string          `json:"category"`
	ParameterFormat      string          `json:"parameter_format,omitempty"`
	AllowCategoryChange  *bool           `json:"allow_category_change,omitempty"`
	Components           json.RawMessage `json:"components"`
	QualityScoreCategory string          `json:"quality_score_category,omitempty"`
}

// Request checks the template and returns what is sent. Its error is an
// ErrInvalid.
func (t NewTemplate) Request() (Request, error) {
	var r rules
	r.needed("businessAccountId", t.BusinessAccountID)
	r.needed("name", t.Name)
	r.needed("language", t.Language)
	r.needed("category", t.Category)
	r.oneOf("parameterFormat", t.ParameterFormat, "NAMED", "POSITIONAL")
	r.refuse(len(t.Components) == 0, "components", "is empty")
	for i, component := range t.Components {
		checkNew(&r, fmt.Sprintf("components[%d]", i), component)
	}
	if err := r.err(); err != nil {
		return Request{}, err
	}
	components, err := joined("components", t.Components)
	if err != nil {
		return Request{}, err
	}
	body, err := encode(newTemplate{
		Name: t.Name, Language: t.Language, Category: t.Category, ParameterFormat: t.ParameterFormat,
		AllowCategoryChange: t.AllowCategoryChange, Components: components, QualityScoreCategory: t.QualityScoreCategory,
	})
	return Request{Path: []string{t.BusinessAccountID, "message_templates"}, Body: body}, err
}

func checkNew(r *rules, field string, component Component) {
	var c struct {
		Type    string            `json:"type"`
		Text    string            `json:"text"`
		Buttons []json.RawMessage `json:"buttons"`
	}
	if err := json.Unmarshal(component, &c); err != nil {
		r.refuse(true, field, "%v", err)
		return
	}
	r.needed(field+".type", c.Type)
	switch c.Type {
	case "HEADER":
		r.length(field+".text", c.Text, 0, maxHeader)
	case "BODY":
		r.length(field+".text", c.Text, 0, maxBody)
	case "FOOTER":
		r.length(field+".text", c.Text, 0, maxFooter)
	case "BUTTONS":
		r.refuse(len(c.Buttons) == 0, field+".buttons", "is empty")
	}
	for i, text := range c.Buttons {
		at := fmt.Sprintf("%s.buttons[%d]", field, i)
		var b Button
		if err := json.Unmarshal(text, &b); err != nil {
			r.refuse(true, at, "%v", err)
		} else if b.Type == "FLOW" {
			b.check(r, at)
		}
	}
}

// check knows the rules of a FLOW button (kapso-facts.md, section 4).
func (b *Button) check(r *rules, field string) {
	r.length(field+".text", b.Text, 1, maxButton)
	named := 0
	for _, way := range []string{b.FlowID, b.FlowName, b.FlowJSON} {
		if way != "" {
			named++
		}
	}
	r.refuse(named != 1, field, "needs exactly one of flowId, flowName and flowJson; it has %d", named)
	r.oneOf(field+".flowAction", b.FlowAction, navigate, dataExchange)
	r.refuse(b.FlowAction == navigate && b.NavigateScreen == "", field+".navigateScreen", "is missing: navigate needs a screen")
	r.refuse(b.FlowAction == dataExchange && b.NavigateScreen != "", field+".navigateScreen", "does not go with data_exchange")
}
