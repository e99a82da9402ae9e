package simulate

import (
	"fmt"
	"strings"
)

// A template is a body cut up once, so that making a message is appending
// bytes. In its text, {{name}} is either a pool (a value drawn anew at each
// use) or a slot (a value of the message, the same wherever it stands).
type template []part

type part struct {
	text string   // literal bytes
	slot slot     // what follows them
	pool []string // for slotPool: JSON values to draw from
}

type slot uint8

const (
	slotNone          slot = iota
	slotPool               // one of part.pool
	slotID                 // the wamid
	slotFrom               // the person's phone number, digits only
	slotName               // the person's name, fit for the inside of a JSON string
	slotUserID             // the person's business-scoped user id
	slotConversation       // the conversation's UUID
	slotNumberID           // phone_number_id of the business
	slotDisplay            // the business's phone number, digits only
	slotToken              // the flow token
	slotContext            // wamid of the message that is replied to
	slotUnix               // the message's time in seconds
	slotISO                // the same in ISO 8601
	slotAnswers            // the answers as JSON
	slotAnswersString      // the answers as a JSON string
	slotAnswersTwice       // the answers as a JSON string within a JSON string
	slotHash               // 64 hex digits
	slotNumber             // an integer below 100
	slotUUID               // a UUID of no importance
	slotItemStart          // where the item's exact bytes start …
	slotItemEnd            // … and end, if they are not the whole
)

func slotNamed(name string) slot {
	switch name {
	case "id":
		return slotID
	case "from":
		return slotFrom
	case "name":
		return slotName
	case "user_id":
		return slotUserID
	case "conversation_id":
		return slotConversation
	case "number_id":
		return slotNumberID
	case "display":
		return slotDisplay
	case "token":
		return slotToken
	case "context":
		return slotContext
	case "unix":
		return slotUnix
	case "iso":
		return slotISO
	case "answers":
		return slotAnswers
	case "answers_string":
		return slotAnswersString
	case "answers_twice":
		return slotAnswersTwice
	case "hash":
		return slotHash
	case "number":
		return slotNumber
	case "uuid":
		return slotUUID
	case "item":
		return slotItemStart
	case "/item":
		return slotItemEnd
	}
	return slotNone
}

// compile cuts up a template's text.
func compile(text string, pools map[string][]string) (template, error) {
	var t template
	rest := text
	for {
		literal, after, found := strings.Cut(rest, "{{")
		if !found {
			return append(t, part{text: rest}), nil
		}
		name, after, found := strings.Cut(after, "}}")
		if !found {
			return nil, fmt.Errorf("template: {{ without }} before %.20q", after)
		}
		p := part{text: literal, slot: slotNamed(name)}
		if p.slot == slotNone {
			p.slot, p.pool = slotPool, pools[name]
			if p.pool == nil {
				return nil, fmt.Errorf("template: unknown {{%s}}", name)
			}
		}
		t = append(t, p)
		rest = after
	}
}
