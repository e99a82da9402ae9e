package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"flowkeep/internal/flowparse"
)

// row is what a row must hold, but for what depends on which delivery of a
// message came first: times and key of the delivery.
type row struct {
	MessageID, TokenKind, FlowID, FlowIDSource, FlowName, Status, PhoneNumberID string
	WaID, UserID, ContactName, ConversationID, ContextMessageID, Source         string
	Raw                                                                         []byte
	FlowToken                                                                   *string
	SentAt                                                                      string
	Answers                                                                     string `db:"response"`
}

const rowsSQL = `
SELECT message_id, flow_token, token_kind, coalesce(flow_id, '') AS flow_id, coalesce(flow_id_source, '') AS flow_id_source,
	coalesce(flow_name, '') AS flow_name, response::text AS response, response_status AS status,
	coalesce(phone_number_id, '') AS phone_number_id, coalesce(wa_id, '') AS wa_id, coalesce(user_id, '') AS user_id,
	coalesce(contact_name, '') AS contact_name, coalesce(conversation_id, '') AS conversation_id,
	coalesce(context_message_id, '') AS context_message_id, source, raw,
	coalesce(to_char(sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), '') AS sent_at
FROM flow_responses`

// expect returns what the tables must hold after the chosen inputs: for each
// message the forms it came in, any of which may have been first, and for each
// body that waits in quarantine the reasons it was given.
func expect(p *flowparse.Parser, pool []flowparse.Input, chosen []int) (rows map[string][]row, waiting map[string][]string) {
	rows, waiting = map[string][]row{}, map[string][]string{}
	for _, i := range chosen {
		d := p.Parse(pool[i])
		for _, r := range d.Responses {
			rows[r.MessageID] = append(rows[r.MessageID], toRow(&d, &r))
		}
		for _, r := range d.Rejects {
			waiting[string(r.Body)] = append(waiting[string(r.Body)], string(r.Reason))
		}
	}
	return rows, waiting
}

func toRow(d *flowparse.Delivery, r *flowparse.Response) row {
	sentAt := ""
	if !r.SentAt.IsZero() {
		sentAt = r.SentAt.UTC().Truncate(time.Microsecond).Format("2006-01-02 15:04:05.000000")
	}
	return row{
		MessageID: r.MessageID, TokenKind: string(r.TokenKind), FlowID: r.FlowID, FlowIDSource: string(r.FlowIDSource),
		FlowName: r.FlowName, Status: string(r.Status), PhoneNumberID: r.PhoneNumberID, WaID: r.WaID, UserID: r.UserID,
		ContactName: r.ContactName, ConversationID: r.ConversationID, ContextMessageID: r.ContextMessageID,
		Source: string(d.Source), Raw: r.Raw, FlowToken: r.FlowToken, SentAt: sentAt,
	}
}

// checkTable compares flow_responses with what is wanted.
func checkTable(ctx context.Context, conn *pgx.Conn, want map[string][]row) error {
	query, _ := conn.Query(ctx, rowsSQL) // CollectRows returns the error
	got, err := pgx.CollectRows(query, pgx.RowToStructByName[row])
	if err == nil && len(got) != len(want) {
		err = fmt.Errorf("%d rows, want %d", len(got), len(want))
	}
	for _, g := range got {
		answers := g.Answers
		g.Answers = ""
		if forms := want[g.MessageID]; !slices.ContainsFunc(forms, func(w row) bool { return cmp.Equal(w, g) }) {
			err = errors.Join(err, fmt.Errorf("message %s is %+v, want one of %+v", g.MessageID, g, forms))
		} else if fault := checkAnswers(g, answers); fault != nil {
			err = errors.Join(err, fmt.Errorf("message %s: %w\nraw %.2000s\nresponse %.2000s", g.MessageID, fault, g.Raw, answers))
		}
	}
	return err
}

// checkWaiting compares the records of quarantine that wait with what is wanted.
func checkWaiting(ctx context.Context, conn *pgx.Conn, want map[string][]string) error {
	query, _ := conn.Query(ctx, "SELECT body, reason FROM quarantine WHERE settled_at IS NULL") // ForEachRow returns the error
	var body []byte
	var reason string
	records := 0
	_, err := pgx.ForEachRow(query, []any{&body, &reason}, func() error {
		records++
		if !slices.Contains(want[string(body)], reason) {
			return fmt.Errorf("%s is why %.2000q waits, want %s", reason, body, want[string(body)])
		}
		return nil
	})
	if err == nil && records != len(want) {
		err = fmt.Errorf("%d records wait, want %d", records, len(want))
	}
	return err
}

// checkAnswers reads the answers in a row's raw bytes as anybody would, with
// encoding/json, and compares them with the row's response.
func checkAnswers(r row, response string) error {
	var item any
	if err := decode(r.Raw, &item); err != nil {
		return err
	}
	sent, found := sentAnswers(item, r.Status == string(flowparse.StatusFallback))
	if !found {
		return fmt.Errorf("cannot find the answers that were sent")
	}
	var kept any
	if err := decode([]byte(response), &kept); err != nil {
		return err
	}
	if !sameAnswers(sent, kept, r.Status != string(flowparse.StatusOK)) {
		return fmt.Errorf("status %s, sent %v", r.Status, sent)
	}
	return nil
}

func decode(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(v)
}

// sentAnswers finds response_json, or kapso.flow_response for a fallback,
// wherever it stands.
func sentAnswers(v any, fallback bool) (any, bool) {
	switch v := v.(type) {
	case string: // v1 may hold the interactive part as text
		var inner any
		if decode([]byte(v), &inner) == nil {
			if _, isObject := inner.(map[string]any); isObject {
				return sentAnswers(inner, fallback)
			}
		}
	case map[string]any:
		if reply, ok := v["nfm_reply"].(map[string]any); ok && !fallback {
			return unwrapAnswers(reply["response_json"]), true
		}
		if notes, ok := v["kapso"].(map[string]any); ok && fallback && notes["flow_response"] != nil {
			return notes["flow_response"], true
		}
		for _, key := range []string{"data", "payload", "message", "interactive", "content"} {
			if answers, found := sentAnswers(v[key], fallback); found {
				return answers, true
			}
		}
	}
	return nil, false
}

// unwrapAnswers reads JSON in a string, twice at most. A NUL in it, which no
// JSON may hold, is U+FFFD.
func unwrapAnswers(v any) any {
	for range 2 {
		text, isString := v.(string)
		var inner any
		if !isString || decode([]byte(mend(text, true)), &inner) != nil {
			return v
		}
		v = inner
	}
	return v
}

// sameAnswers compares values, numbers by their exact value. Where answers may
// be sanitized, U+FFFD stands for a NUL, a broken surrogate or bytes that are not
// UTF-8 (encoding/json makes another number of them), and a number may have
// become the string of itself.
func sameAnswers(sent, kept any, sanitized bool) bool {
	switch sent := sent.(type) {
	case map[string]any:
		object, ok := kept.(map[string]any)
		if !ok || len(object) != len(sent) {
			return false
		}
		mended := map[string]any{}
		for key, value := range object {
			mended[mend(key, sanitized)] = value
		}
		for key, value := range sent {
			other, ok := mended[mend(key, sanitized)]
			if !ok || !sameAnswers(value, other, sanitized) {
				return false
			}
		}
		return true
	case []any:
		list, ok := kept.([]any)
		return ok && slices.EqualFunc(sent, list, func(a, b any) bool { return sameAnswers(a, b, sanitized) })
	case string:
		text, ok := kept.(string)
		return ok && mend(text, sanitized) == mend(sent, sanitized)
	case json.Number:
		if number, ok := kept.(json.Number); ok {
			a, okA := new(big.Rat).SetString(string(sent))
			b, okB := new(big.Rat).SetString(string(number))
			return okA && okB && a.Cmp(b) == 0
		}
		return sanitized && kept == string(sent)
	}
	return sent == kept
}

// mend makes one U+FFFD of what stands for something that jsonb cannot hold.
func mend(s string, sanitized bool) string {
	if !sanitized {
		return s
	}
	s = strings.ReplaceAll(s, "\x00", "\ufffd")
	for strings.Contains(s, "\ufffd\ufffd") {
		s = strings.ReplaceAll(s, "\ufffd\ufffd", "\ufffd")
	}
	return s
}
