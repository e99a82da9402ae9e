package kapso

import (
	"encoding/json"
	"fmt"
	"strings"
)

// TemplateMessage sends an approved template: the input of the SDK's
// messages.sendTemplate. It is for people who did not write within 24 hours.
type TemplateMessage struct {
	Target
	Template Template `json:"template"`
}

// Template names the template and fills it in.
type Template struct {
	Name       string      `json:"name"`
	Language   Language    `json:"language"`
	Components []Component `json:"components,omitempty"`
}

// Language is one that the template exists in, such as en_US.
type Language struct {
	Code   string `json:"code"`
	Policy string `json:"policy,omitempty"` // deterministic, or nothing
}

// Component is a part of a template, as the page has it. Parts that have no
// flow in them pass as they are.
type Component = json.RawMessage

// FlowButton returns the component that gives the template's flow button its
// token and data. Either may be empty: without a token Kapso puts the flow's
// id. index is the button's place, from "0".
func FlowButton(index, flowToken string, data json.RawMessage) (Component, error) {
	return encode(sentComponent{
		Type: "button", SubType: "flow", Index: index,
		Parameters: []sentParameter{{Type: "action", Action: &sentAction{FlowToken: flowToken, FlowActionData: data}}},
	})
}

// sentComponent is what is checked of a component that fills a template in.
type sentComponent struct {
	Type       string          `json:"type"`
	SubType    string          `json:"subType"`
	Index      any             `json:"index"` // the page has "0"; a number is taken too
	Parameters []sentParameter `json:"parameters"`
}

type sentParameter struct {
	Type   string      `json:"type"`
	Action *sentAction `json:"action,omitempty"`
}

type sentAction struct {
	FlowToken      string          `json:"flowToken,omitempty"`
	FlowActionData json.RawMessage `json:"flowActionData,omitempty"`
}

// Request checks the message and returns what is sent. Its error is an
// ErrInvalid.
func (m TemplateMessage) Request() (Request, error) {
	var r rules
	m.check(&r)
	r.needed("template.name", m.Template.Name)
	r.needed("template.language.code", m.Template.Language.Code)
	r.oneOf("template.language.policy", m.Template.Language.Policy, "deterministic")
	for i, component := range m.Template.Components {
		checkSent(&r, fmt.Sprintf("template.components[%d]", i), component)
	}
	if err := r.err(); err != nil {
		return Request{}, err
	}
	components, err := joined("template.components", m.Template.Components)
	if err != nil {
		return Request{}, err
	}
	message := m.envelope("template")
	message.Template = &wireTemplate{Name: m.Template.Name, Language: m.Template.Language, Components: components}
	return m.request(message)
}

// FlowToken returns the token in the template's flow button, or "".
func (m TemplateMessage) FlowToken() string {
	for _, component := range m.Template.Components {
		var c sentComponent
		if json.Unmarshal(component, &c) != nil || !c.isFlow() {
			continue
		}
		for _, p := range c.Parameters {
			if p.Action != nil && p.Action.FlowToken != "" {
				return p.Action.FlowToken
			}
		}
	}
	return ""
}

// isFlow: Meta writes the names in capitals as well.
func (c *sentComponent) isFlow() bool {
	return strings.EqualFold(c.Type, "button") && strings.EqualFold(c.SubType, "flow")
}

func checkSent(r *rules, field string, component Component) {
	var kind struct {
		Type    string `json:"type"`
		SubType string `json:"subType"`
	}
	err := json.Unmarshal(component, &kind)
	r.refuse(err != nil, field, "must be an object whose type is a string")
	r.refuse(err == nil && kind.Type == "", field+".type", "is missing")
	c := sentComponent{Type: kind.Type, SubType: kind.SubType}
	if err != nil || !c.isFlow() {
		return
	}
	if err := json.Unmarshal(component, &c); err != nil {
		r.refuse(true, field, "%v", err)
		return
	}
	r.refuse(c.Index == nil || c.Index == "", field+".index", "is missing: the button's place, from \"0\"")
	r.refuse(len(c.Parameters) != 1 || c.Parameters[0].Type != "action" || c.Parameters[0].Action == nil,
		field+".parameters", "must be one of the type action, with an action")
	for i, p := range c.Parameters {
		if p.Action != nil {
			r.nonEmptyObject(fmt.Sprintf("%s.parameters[%d].action.flowActionData", field, i), p.Action.FlowActionData)
		}
	}
}

// joined writes components as one list with keys in snake_case; nil for none.
func joined(field string, components []Component) (json.RawMessage, error) {
	if components == nil {
		return nil, nil
	}
	list, err := encode(components)
	if err != nil {
		return nil, err
	}
	return snakeCase(field, list)
}
