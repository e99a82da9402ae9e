package flows_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store/storetest"
)

// seenAgain returns what is known of a response that was stored before.
func seenAgain(id, token string) flowparse.Response {
	r := flowparse.Response{
		MessageID: id, FlowToken: &token, TokenKind: flowparse.TokenCustom, WaID: "15550000002", ContactName: "Ana",
		Answers: []byte(`{"other":2}`), Raw: []byte(`{"other":1}`), SentAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	if token == flowID {
		r.TokenKind, r.FlowID, r.FlowIDSource = flowparse.TokenFlowID, flowID, flowparse.FlowFromTokenShape
	}
	return r
}

// storeBare stores answers of which nothing is known.
func (d *desk) storeBare(ids ...string) {
	d.t.Helper()
	for _, id := range ids {
		d.exec(`INSERT INTO flow_responses (message_id, token_kind, response, response_status, source, raw, received_at, wa_id)
			VALUES ($1, 'none', '{"late":1}', 'ok', 'kapso', '', now(), CASE $1 WHEN 'full' THEN '15550000001' END)`, id)
	}
}

const knownSQL = `SELECT concat_ws(' ', flow_token, token_kind, flow_id, flow_id_source, wa_id, contact_name, response, sent_at AT TIME ZONE 'UTC')
	FROM flow_responses WHERE message_id = $1`

func TestFillNulls_OnlyWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.storeBare("bare", "full", "sent", "token")
	d.exec(`UPDATE flow_responses SET flow_token = 'mine', token_kind = 'custom', contact_name = 'Bob', sent_at = '2020-01-01Z' WHERE message_id = 'full'`)
	d.exec(`INSERT INTO flow_sends (wamid, flow_id, flow_token, linked_at) VALUES ('wamid.s', '222', NULL, now()), ('wamid.t', '333', 'order-7', now())`)
	sent := seenAgain("sent", "other")
	sent.ContextMessageID = "wamid.s"
	fill := []flowparse.Response{seenAgain("bare", flowID), seenAgain("full", flowID), sent, seenAgain("token", "order-7"), seenAgain("nobody", flowID)}
	for range 2 {
		if err := d.keeper.FillNulls(t.Context(), fill); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{
		"bare":  flowID + ` flow_id ` + flowID + ` token_shape 15550000002 Ana {"late": 1} 2026-01-02 03:04:05`,
		"full":  `mine custom 15550000001 Bob {"late": 1} 2020-01-01 00:00:00`,
		"sent":  `other custom 222 sent_message 15550000002 Ana {"late": 1} 2026-01-02 03:04:05`,
		"token": `order-7 custom 333 registered_token 15550000002 Ana {"late": 1} 2026-01-02 03:04:05`,
	} {
		if got := d.text(knownSQL, id); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", id, got, want)
		}
	}
}

// A response that gets its flow late gets its columns too.
func TestFillNulls_TheViewLearnsOfIt(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.storeBare("bare")
	d.store(flowID, `{"a":1}`)
	run(t, d.keeper)
	storetest.Eventually(t, "the view", func() bool { return len(d.columns(view)) == 1 })
	if err := d.keeper.FillNulls(t.Context(), []flowparse.Response{seenAgain("bare", flowID)}); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "the column", func() bool { return len(d.columns(view)) == 2 })
}

// One that the database refuses costs no other, and is told of.
func TestFillNulls_WhatCannotBeFilled(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.storeBare("1", "2", "3")
	d.exec(`ALTER TABLE flow_responses ADD CONSTRAINT mine CHECK (contact_name <> 'Eve')`)
	eve := seenAgain("2", "x")
	eve.ContactName = "Eve"
	var log strings.Builder
	k := openKeeper(t, d.url, zerolog.New(&log))
	if err := k.FillNulls(t.Context(), []flowparse.Response{seenAgain("1", "x"), eve, seenAgain("3", "x")}); err != nil {
		t.Fatal(err)
	}
	if got := d.text(`SELECT string_agg(message_id, ' ' ORDER BY message_id) FROM flow_responses WHERE contact_name = 'Ana'`); got != "1 3" {
		t.Errorf("filled: %s", got)
	}
	if text := log.String(); !strings.Contains(text, `"sqlstate":"23514"`) || strings.Contains(text, "Eve") {
		t.Errorf("the log: %s", text)
	}
}

func TestFillNulls_NotOfWhoIsErased(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.storeBare("bare")
	d.exec(`INSERT INTO erasures (hash, cutoff) SELECT sha256(key || convert_to('15550000002', 'UTF8')), now() FROM erasure_key`)
	if err := d.keeper.FillNulls(t.Context(), []flowparse.Response{seenAgain("bare", flowID)}); err != nil {
		t.Fatal(err)
	}
	if got := d.text(knownSQL, "bare"); got != `none {"late": 1}` {
		t.Errorf("filled: %s", got)
	}
}
