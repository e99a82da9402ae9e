package simulate

import (
	"cmp"
	"encoding/json"
	"errors"
	"regexp"
)

// kapsoTemplate is a template that is sent.
type kapsoTemplate struct {
	Name     string `json:"name"`
	Language struct {
		Code   string `json:"code"`
		Policy string `json:"policy"`
	} `json:"language"`
	Components []struct {
		Type       string `json:"type"`
		SubType    string `json:"sub_type"`
		Index      any    `json:"index"`
		Parameters []struct {
			Type   string `json:"type"`
			Action *struct {
				Token string          `json:"flow_token"`
				Data  json.RawMessage `json:"flow_action_data"`
			} `json:"action"`
		} `json:"parameters"`
	} `json:"components"`
}

// newKapsoTemplate is a template to be created.
type newKapsoTemplate struct {
	Name       string `json:"name"`
	Language   string `json:"language"`
	Category   string `json:"category"`
	Components []struct {
		Type    string `json:"type"`
		Text    string `json:"text"`
		Buttons []struct {
			Type   string `json:"type"`
			Text   string `json:"text"`
			FlowID string `json:"flow_id"`
			Name   string `json:"flow_name"`
			JSON   string `json:"flow_json"`
			Action string `json:"flow_action"`
			Screen string `json:"navigate_screen"`
		} `json:"buttons"`
	} `json:"components"`
}

func (t *kapsoTemplate) check() error {
	err := errors.Join(
		expect("template.name", t.Name != ""),
		expect("template.language.code", t.Language.Code != ""),
		expect("template.language.policy", oneOf(t.Language.Policy, "", "deterministic")),
	)
	for _, c := range t.Components {
		if c.Type != "button" || c.SubType != "flow" {
			continue
		}
		action := len(c.Parameters) == 1 && c.Parameters[0].Type == "action" && c.Parameters[0].Action != nil
		err = errors.Join(err,
			expect("template.components.index", c.Index != nil),
			expect("template.components.parameters", action),
			expect("template.components.parameters.action.flow_action_data", !action || filled(c.Parameters[0].Action.Data)))
	}
	return err
}

// readKapsoTemplate returns a template whose fields were checked.
func readKapsoTemplate(body []byte) (t newKapsoTemplate, err error) {
	if err := errors.Join(noCamelCase(body), json.Unmarshal(body, &t)); err != nil {
		return t, err
	}
	err = errors.Join(
		expect("name", regexp.MustCompile(`^[a-z0-9_]{1,512}$`).MatchString(t.Name)),
		expect("language", t.Language != ""),
		expect("category", oneOf(t.Category, "UTILITY", "MARKETING", "AUTHENTICATION")),
		expect("components", len(t.Components) > 0),
	)
	for _, c := range t.Components {
		err = errors.Join(err, expect("components.text", within(c.Text, 0, 1024)))
		for _, b := range c.Buttons {
			if b.Type != "FLOW" {
				continue
			}
			err = errors.Join(err,
				expect("components.buttons.text", within(b.Text, 1, 25)),
				expect("components.buttons.flow_id", b.FlowID+b.Name+b.JSON != ""),
				expect("components.buttons.flow_action", oneOf(b.Action, "", "navigate", "data_exchange")),
				expect("components.buttons.navigate_screen", (b.Action == "navigate") == (b.Screen != "") || b.Action == ""))
		}
	}
	return t, err
}

func (t *kapsoTemplate) key() string { return t.Name + " " + t.Language.Code }

func (t *newKapsoTemplate) key() string { return t.Name + " " + t.Language }

// flowID is that of the first FLOW button; a flow that is only named has none
// here.
func (t *newKapsoTemplate) flowID() string {
	id := ""
	for _, c := range t.Components {
		for _, b := range c.Buttons {
			id = cmp.Or(id, b.FlowID)
		}
	}
	return id
}
