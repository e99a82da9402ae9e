package store_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store/storetest"
)

// fillRegister registers sends to Ana, whichever way a sender may say so, and
// what is none of hers.
func fillRegister(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), `
		INSERT INTO flow_sends (wamid, flow_id, flow_token, recipient, sent_at) VALUES
			('by number', '1', NULL, '`+anasNumber+`', now()), ('by user id', '1', NULL, '`+anasUserID+`', now()),
			('`+anasWamid+`', '1', NULL, NULL, now()), ('answered', '1', NULL, NULL, now()), ('by token', '1', 'order-7', NULL, now()),
			('after the cut-off', '1', NULL, '`+anasNumber+`', now() + interval '1 hour'),
			('shared token', '1', 'shared', NULL, now()), ('shared too', '1', 'shared', NULL, now()),
			('other', '1', NULL, '15557654321', now()), ('nobody', '1', NULL, NULL, now())`); err != nil {
		t.Fatal(err)
	}
}

const registeredSQL = `SELECT coalesce(string_agg(wamid, ', ' ORDER BY wamid), '') FROM flow_sends`

func TestErase_WhatWasSentToThePerson(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	conn := storetest.Connect(t, url)
	fillRegister(t, conn)
	answer, byToken, shared := from("a", anasNumber, anasUserID), from("b", anasNumber, ""), from("c", anasNumber, "")
	answer.ContextMessageID = "answered"
	token, both := "order-7", "shared"
	byToken.FlowToken, byToken.TokenKind = &token, flowparse.TokenCustom
	shared.FlowToken, shared.TokenKind = &both, flowparse.TokenCustom
	put(t, w, delivery(answer, byToken, shared))

	db := open(t, url)
	e, err := db.ErasePerson(t.Context(), anasNumber)
	if err != nil || e.Responses != 3 || e.Sends != 5 {
		t.Fatalf("%+v, %v", e, err)
	}
	if got := query[string](t, conn, registeredSQL); got != "after the cut-off, nobody, other, shared token, shared too" {
		t.Errorf("left: %s", got)
	}
	// An event of before, from a spool or another replica, does not bring it back.
	old := status("by number", flowparse.StateSent, 0)
	old.FlowID, old.Recipient, old.At = "1", anasNumber, e.Cutoff.Add(-time.Minute)
	anew := old
	anew.Wamid, anew.At = "sent anew", e.Cutoff.Add(time.Minute)
	put(t, w, statuses(old, anew))
	if got := query[string](t, conn, registeredSQL); got != "after the cut-off, nobody, other, sent anew, shared token, shared too" {
		t.Errorf("after the events: %s", got)
	}
	if !e.Covers(statuses(old)) || e.Covers(statuses(status("wamid of somebody", flowparse.StateRead, 0))) {
		t.Error("a spooled status is not told from others")
	}
}

// What is told of a message after the cut-off does not make the message younger,
// and one that names nobody is known by its wamid.
func TestErase_AStatusOfLater(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	conn := storetest.Connect(t, url)
	e, err := open(t, url).ErasePerson(t.Context(), anasNumber)
	if err != nil {
		t.Fatal(err)
	}
	event := func(wamid, recipient string, state flowparse.SendState, sentAt time.Time) flowparse.SendStatus {
		return flowparse.SendStatus{Wamid: wamid, State: state, At: e.Cutoff.Add(5 * time.Minute), FlowID: "1", Recipient: recipient, SentAt: sentAt}
	}
	before, after := e.Cutoff.Add(-5*time.Minute), e.Cutoff.Add(time.Minute)
	put(t, w, statuses(
		event("read later", anasNumber, flowparse.StateRead, before), event(anasWamid, "", flowparse.StateSent, before),
		event("nobody knows when", anasNumber, flowparse.StateRead, time.Time{}),
		event("other", "15557654321", flowparse.StateRead, before), event("anew", anasNumber, flowparse.StateRead, after)))
	if got := query[string](t, conn, registeredSQL); got != "anew, other" {
		t.Errorf("registered: %s", got)
	}
	if got := query[time.Time](t, conn, "SELECT sent_at FROM flow_sends WHERE wamid = 'other'"); !got.Equal(before) {
		t.Errorf("sent at %v, not %v", got, before)
	}
}

func TestErase_ASendByItsID(t *testing.T) {
	t.Parallel()
	conn := storetest.Connect(t, postgres.New(t))
	fillRegister(t, conn)
	e, err := open(t, conn.Config().ConnString()).EraseMessage(t.Context(), "nobody")
	if err != nil || e.Sends != 1 {
		t.Fatalf("%+v, %v", e, err)
	}
	if n := query[int](t, conn, `SELECT count(*)::int FROM flow_sends`); n != 9 {
		t.Errorf("%d left", n)
	}
}

func TestErase_SendsOfARestoredBackup(t *testing.T) {
	t.Parallel()
	conn := storetest.Connect(t, postgres.New(t))
	db := open(t, conn.Config().ConnString())
	if _, err := db.ErasePerson(t.Context(), anasNumber); err != nil {
		t.Fatal(err)
	}
	if _, err := db.EraseMessage(t.Context(), "another"); err != nil { // the answer alone, not its send
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `INSERT INTO flow_sends (flow_id, status, recipient, sent_at)
		SELECT '1', 'in_doubt', CASE n WHEN 7 THEN '`+anasNumber+`' END, now() - interval '1 hour' FROM generate_series(1, 6000) AS n`); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `INSERT INTO flow_sends (wamid, flow_id, sent_at) VALUES
		('`+anasWamid+`', '1', now() - interval '1 hour'), ('answered', '1', now() - interval '1 hour'), ('elsewhere', '1', now());
		INSERT INTO flow_responses (message_id, token_kind, response, response_status, source, raw, received_at, wa_id, context_message_id) VALUES
		('hers', 'none', '{}', 'ok', 'kapso', '', now() - interval '1 hour', '`+anasNumber+`', 'answered'),
		('another', 'none', '{}', 'ok', 'kapso', '', now() - interval '1 hour', '15557654321', 'elsewhere')`); err != nil {
		t.Fatal(err)
	}
	e, err := db.EraseAgain(t.Context())
	if err != nil || e.Sends != 3 || e.Responses != 2 {
		t.Errorf("%+v, %v", e, err)
	}
	if n := query[int](t, conn, "SELECT count(*)::int FROM flow_sends WHERE wamid IS NOT NULL"); n != 1 {
		t.Errorf("%d sends left that are known", n)
	}
}
