package flows

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/flowparse"
)

// tokenKey is the answer that is no answer: the token, which has a column of
// its own.
const tokenKey = "flow_token"

// answer is one answer of a response, without its value.
type answer struct {
	key  string
	kind kind
	fit  fit
}

// isToken says whether it is the token, and no answer of that name.
func (a *answer) isToken() bool { return a.key == tokenKey && a.kind&^(kindString|kindNumber) == 0 }

// readAnswers returns a response's answers in the order of the text; of equal
// keys, the last value. more says that some were left out, since no column can
// be made of them: their key is too long, or they are too many. list says that
// the response is a list, without keys.
func readAnswers(response []byte) (answers []answer, more, list bool) {
	rest := bytes.TrimLeft(response, space)
	if len(rest) == 0 || rest[0] != '{' {
		return nil, false, true
	}
	for rest = rest[1:]; ; {
		var name, value []byte
		if name, rest = cutValue(rest); len(name) == 0 {
			return answers, more, false
		}
		if value, rest = cutValue(rest); len(value) == 0 {
			return answers, more, false
		}
		a := answer{key: unquote(name)}
		a.kind, a.fit = classify(value)
		switch i := slices.IndexFunc(answers, func(b answer) bool { return b.key == a.key }); {
		case i >= 0:
			answers[i] = a
		case len(a.key) > maxKeyBytes || len(answers) >= 2*maxColumns:
			more = true
		default:
			answers = append(answers, a)
		}
	}
}

const rawSQL = `SELECT source, raw FROM flow_responses WHERE message_id = $1`

// formOrder returns the keys of a response in the order in which the form sent
// them, which jsonb does not keep, but raw does. It is nil if raw cannot be read.
func formOrder(ctx context.Context, tx pgx.Tx, messageID string) ([]string, error) {
	var source string
	var raw []byte
	err := tx.QueryRow(ctx, rawSQL, messageID).Scan(&source, &raw)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the bytes of a response: %w", err)
	}
	around := [2]string{`{"event":"whatsapp.message.received","data":[`, `]}`}
	if flowparse.Source(source) == flowparse.SourceMeta {
		around = [2]string{`{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages","value":{"messages":[`, `]}}]}]}`}
	}
	body := slices.Concat([]byte(around[0]), raw, []byte(around[1]))
	d := flowparse.New(nil).Parse(flowparse.Input{Body: body})
	if len(d.Responses) != 1 {
		return nil, nil
	}
	answers, _, _ := readAnswers(d.Responses[0].Answers)
	keys := make([]string, len(answers))
	for i, a := range answers {
		keys[i] = a.key
	}
	return keys, nil
}
