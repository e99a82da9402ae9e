package store_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store"
)

// Only what is null is filled in; a token brings its kind, a flow its source.
func TestDB_FillNulls(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	db, conn := open(t, url), connect(t, url)
	bare := flowparse.Response{
		MessageID: "bare", TokenKind: flowparse.TokenNone, Answers: []byte(`{"a":1}`), Status: flowparse.StatusOK,
		WaID: "15550000001", Raw: []byte(`{}`),
	}
	put(t, w, delivery(bare, response("full")))
	before := query[string](t, conn, "SELECT f::text FROM flow_responses AS f WHERE message_id = 'full'")

	better := response("bare")
	better.Answers, better.Raw, better.WaID, better.ContactName = []byte(`{"b":2}`), []byte(`{"other":1}`), "15550000002", "Ana"
	better.SentAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	other := response("full")
	token := "order-7"
	other.FlowToken, other.TokenKind, other.FlowID, other.FlowIDSource, other.FlowName = &token, flowparse.TokenCustom, "", "", "another"
	if err := db.FillNulls(t.Context(), []flowparse.Response{better, other, response("nobody")}); err != nil {
		t.Fatal(err)
	}
	got := query[string](t, conn, `SELECT concat_ws(' ', flow_token, token_kind, flow_id, flow_id_source, wa_id, contact_name, response, convert_from(raw, 'UTF8'),
		sent_at AT TIME ZONE 'UTC', user_id IS NULL, source) FROM flow_responses WHERE message_id = 'bare'`)
	if want := `1197715005513101 flow_id 1197715005513101 token_shape 15550000001 Ana {"a": 1} {} 2026-01-02 03:04:05 t kapso`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if after := query[string](t, conn, "SELECT f::text FROM flow_responses AS f WHERE message_id = 'full'"); after != before {
		t.Errorf("a whole row changed:\n%s\n%s", before, after)
	}
	if n := query[int](t, conn, "SELECT count(*)::int FROM flow_responses"); n != 2 {
		t.Errorf("%d rows", n)
	}
}

// Of many servers one gets a number, and the next only when it is due again.
func TestDB_ClaimBackfill(t *testing.T) {
	t.Parallel()
	db := open(t, postgres.New(t))
	var claims atomic.Int32
	var servers sync.WaitGroup
	for range 4 {
		servers.Go(func() {
			_, due, err := db.ClaimBackfill(t.Context(), []string{"1"}, time.Hour)
			if err != nil {
				t.Error(err)
			}
			if due {
				claims.Add(1)
			}
		})
	}
	servers.Wait()
	if claims.Load() != 1 {
		t.Fatalf("%d servers claimed the number", claims.Load())
	}
	until := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	p := store.BackfillProgress{PhoneNumberID: "1", CompleteUntil: &until, Seen: 5, Added: 2}
	if err := db.NoteBackfill(t.Context(), &p, 0); err != nil {
		t.Fatal(err)
	}
	p.CompleteUntil, p.Fault = nil, "Kapso throttles"
	if err := db.NoteBackfill(t.Context(), &p, 0); err != nil { // a failure takes nothing back
		t.Fatal(err)
	}
	p, due, err := db.ClaimBackfill(t.Context(), []string{"1"}, time.Hour)
	if err != nil || !due || !p.CompleteUntil.Equal(until) || p.LastRunAt == nil || p.Added != 2 || p.Fault != "Kapso throttles" {
		t.Errorf("%v, %v, %+v", err, due, p)
	}
	if err := db.HoldBackfill(t.Context(), "1", 0); err != nil {
		t.Fatal(err)
	}
	if _, due, err = db.ClaimBackfill(t.Context(), []string{"2", "1"}, time.Hour); err != nil || !due {
		t.Errorf("%v, %v", err, due)
	}
	if list, err := db.BackfillProgress(t.Context(), []string{"1", "2"}); err != nil || len(list) != 2 {
		t.Errorf("%v, %+v", err, list)
	}
}
