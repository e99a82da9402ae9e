package sends_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store/sends"
)

func (a answer) body(t *testing.T) []byte {
	t.Helper()
	answers := map[string]any{}
	if a.json != "" {
		if err := json.Unmarshal([]byte(a.json), &answers); err != nil {
			t.Fatal(err)
		}
	}
	if a.token != "" {
		answers["flow_token"] = a.token
	}
	text, err := json.Marshal(answers)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"message": map[string]any{
		"id": a.id, "type": "interactive", "context": map[string]any{"id": a.context},
		"interactive": map[string]any{"type": "nfm_reply", "nfm_reply": map[string]any{"name": "flow", "response_json": string(text)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

const sendSQL = `SELECT row(wamid, flow_id, flow_token, recipient, kind, template, context, status, failure) FROM flow_sends WHERE id = $1`

func TestRegister_ASendIsKnownBeforeAndAfterTheCall(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ctx := t.Context()
	id, err := d.register.Begin(ctx, sends.Send{
		FlowID: flowID, FlowToken: "order-7", Recipient: "+1 (555) 123-4567", PhoneNumberID: "647015955153740",
		Kind: sends.KindTemplate, Template: "booking", Context: json.RawMessage(`{"order":7}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	d.want(`(,1197715005513101,order-7,15551234567,template,booking,"{""order"": 7}",pending,)`, sendSQL, id)
	if err := d.register.InDoubt(ctx, id, "no_answer"); err != nil {
		t.Fatal(err)
	}
	d.want(`(,1197715005513101,order-7,15551234567,template,booking,"{""order"": 7}",in_doubt,no_answer)`, sendSQL, id)
	for range 2 {
		if err := d.register.Sent(ctx, id, "wamid.1"); err != nil {
			t.Fatal(err)
		}
		d.want(`(wamid.1,1197715005513101,order-7,15551234567,template,booking,"{""order"": 7}",sent,)`, sendSQL, id)
	}
	for what, err := range map[string]error{
		"failed":        d.register.Failed(ctx, id, "131026"),
		"in doubt":      d.register.InDoubt(ctx, id, "no_answer"),
		"another wamid": d.register.Sent(ctx, id, "wamid.2"),
		"no such send":  d.register.Sent(ctx, id+1, "wamid.2"),
	} {
		if !errors.Is(err, sends.ErrSettled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	failed, err := d.register.Begin(ctx, sends.Send{FlowID: flowID})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.register.Failed(ctx, failed, "131026"); err != nil {
		t.Fatal(err)
	}
	d.want(`(,1197715005513101,,,interactive,,{},failed,131026)`, sendSQL, failed)
}

// A status event that carries the flow can register the send before the answer
// to the call came.
func TestRegister_TakesOverWhatIsRegisteredUnderTheWamid(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id, err := d.register.Begin(t.Context(), sends.Send{FlowID: flowID, Context: json.RawMessage(`{"order":7}`)})
	if err != nil {
		t.Fatal(err)
	}
	d.exec(`INSERT INTO flow_sends (wamid, flow_id, status, delivered_at) VALUES ('wamid.1', '1', 'delivered', now())`)
	if err := d.register.Sent(t.Context(), id, "wamid.1"); err != nil {
		t.Fatal(err)
	}
	d.want("1 delivered true", `SELECT count(*) || ' ' || min(status) || ' ' || bool_and(delivered_at IS NOT NULL) FROM flow_sends`)
	d.want(`(wamid.1,1197715005513101,,,interactive,,"{""order"": 7}",delivered,)`, sendSQL, id)
}

func TestRegister_SaysWhichColumnIsAtFault(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for column, s := range map[string]sends.Send{
		"flow_id is empty":           {},
		"flow_id is no text":         {FlowID: strings.Repeat("1", 201)},
		"wamid is no text":           {FlowID: "1", Wamid: strings.Repeat("w", 513)},
		"flow_token is no text":      {FlowID: "1", FlowToken: "secret\x00"},
		"recipient is neither":       {FlowID: "1", Recipient: "555 secret"},
		"kind is neither":            {FlowID: "1", Kind: "secret"},
		"context is no JSON object":  {FlowID: "1", Context: json.RawMessage(`["secret"]`)},
		"template is no text":        {FlowID: "1", Template: "secret\xff"},
		"phone_number_id is no text": {FlowID: "1", PhoneNumberID: strings.Repeat("1", 513)},
	} {
		_, err := d.register.Begin(t.Context(), s)
		if !errors.Is(err, sends.ErrInvalid) || !strings.Contains(err.Error(), column) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", column, err)
		}
	}
	d.want("0", `SELECT count(*) FROM flow_sends`)
}

func TestTable_TellsWhatAnInsertByHandGotWrong(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`INSERT INTO flow_sends (wamid, flow_id) VALUES ('wamid.1', '1197715005513101')`)
	d.want(`(wamid.1,1197715005513101,,,interactive,,{},sent,)`, `SELECT row(wamid, flow_id, flow_token, recipient, kind, template, context, status, failure) FROM flow_sends`)
	for constraint, values := range map[string]string{
		"what_was_sent_has_a_wamid":        `NULL, '1', NULL, 'sent', '{}'`,
		"wamid_has_1_to_512_bytes":         `repeat('w', 513), '1', NULL, 'sent', '{}'`,
		"flow_id_has_1_to_200_bytes":       `'wamid.2', '', NULL, 'sent', '{}'`,
		"recipient_is_digits_or_a_user_id": `'wamid.2', '1', '+1555', 'sent', '{}'`,
		"status_is_known":                  `'wamid.2', '1', NULL, 'gone', '{}'`,
		"context_is_an_object":             `'wamid.2', '1', NULL, 'sent', '[]'`,
		"flow_sends_wamid_key":             `'wamid.1', '1', NULL, 'sent', '{}'`,
	} {
		_, err := d.conn.Exec(t.Context(), `INSERT INTO flow_sends (wamid, flow_id, recipient, status, context) VALUES (`+values+`)`)
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.ConstraintName != constraint {
			t.Errorf("%s: %v", constraint, err)
		}
	}
}

func TestInsert_LinksByWhatIsRegistered(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`INSERT INTO flow_sends (wamid, flow_id, flow_token) VALUES
		('wamid.s1', '111', 'order-1'), ('wamid.s2', '222', 'order-2'), ('wamid.s3', '222', 'order-2'),
		('wamid.s4', '333', 'shared'), ('wamid.s5', '444', 'shared'), ('wamid.s6', '555', '1234567890123456'),
		('wamid.s7', '1197715005513101', NULL), ('wamid.s8', '666', '1197715005513101')`)
	guessing, knowing := flowparse.New(nil), flowparse.New([]string{flowID})
	tests := []struct {
		what   string
		parser *flowparse.Parser
		answer answer
		want   string
	}{
		{"the answered message", guessing, answer{id: "1", context: "wamid.s1", token: "unheard"}, "111 sent_message custom"},
		{"the message beats the token", guessing, answer{id: "2", context: "wamid.s1", token: "order-2"}, "111 sent_message custom"},
		{"the message beats a guess", guessing, answer{id: "3", context: "wamid.s1", token: flowID}, "111 sent_message custom"},
		{"the message, and the token is the flow", guessing, answer{id: "4", context: "wamid.s7", token: flowID}, "1197715005513101 sent_message flow_id"},
		{"no token", guessing, answer{id: "5", context: "wamid.s1"}, "111 sent_message none"},
		{"the token", guessing, answer{id: "6", token: "order-1"}, "111 registered_token custom"},
		{"a token of two sends of one flow", guessing, answer{id: "7", context: "wamid.unheard", token: "order-2"}, "222 registered_token custom"},
		{"a token of two flows tells nothing", guessing, answer{id: "8", token: "shared"}, "- - custom"},
		{"a token that looks like a flow", guessing, answer{id: "9", token: "1234567890123456"}, "555 registered_token custom"},
		{"a configured flow beats all", knowing, answer{id: "10", context: "wamid.s1", token: flowID}, "1197715005513101 known_flow flow_id"},
		{"nothing is registered", guessing, answer{id: "11", context: "wamid.unheard", token: "unheard"}, "- - custom"},
		{"a guess stays", guessing, answer{id: "12", token: "2222222222222222"}, "2222222222222222 token_shape flow_id"},
	}
	for _, tt := range tests {
		d.store(tt.parser, tt.answer)
		if got := d.linked(tt.answer.id); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.what, got, tt.want)
		}
	}
}
