package store_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store"
)

const corpusDir = "../flowparse/testdata"

// FuzzEnvelopeToRow takes whatever a body is read to all the way into a real
// Postgres: each response is a row with its exact bytes, each reject a record
// of quarantine, nothing is an error, and the good neighbours that share its
// statement are stored. What the parser calls a response Postgres must take.
func FuzzEnvelopeToRow(f *testing.F) {
	addCorpus(f)
	url := postgres.New(f)
	db, err := store.Open(url, 2, zerolog.Nop())
	if err != nil {
		f.Fatal(err)
	}
	w := store.NewWriter(db, 1, 100, zerolog.Nop())
	conn, err := pgx.Connect(f.Context(), url)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		w.Close()
		db.Close()
		conn.Close(f.Context())
	})
	f.Fuzz(func(t *testing.T, body []byte, event string) {
		d := flowparse.New(nil).Parse(flowparse.Input{
			Body: body, Event: event, IdempotencyKey: event, ReceivedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		})
		if len(d.Responses)+len(d.Rejects) > 200 {
			return // too many to look at each
		}
		// Keys are stored in order: these come first and last.
		d.Responses = append([]flowparse.Response{response("\x01 neighbour"), response("\U0010ffff neighbour")}, d.Responses...)
		if _, err := conn.Exec(t.Context(), "DELETE FROM flow_responses; DELETE FROM quarantine"); err != nil {
			t.Fatal(err)
		}
		results := put(t, w, &d)
		checkKept(t, conn, &d, results)
		for i, r := range put(t, w, &d) { // once more, as a retry
			if want := map[store.Result]store.Result{store.Stored: store.Duplicate}; r != results[i] && r != want[results[i]] {
				t.Errorf("item %d: %d, and again: %d", i, results[i], r)
			}
		}
	})
}

// addCorpus seeds f with the parser's corpus.
func addCorpus(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join(corpusDir, "payloads", "*.json"))
	if err != nil || len(files) < 60 {
		f.Fatalf("%d payloads, %v", len(files), err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var headers map[string]string
		if text, err := os.ReadFile(filepath.Join(corpusDir, "headers", filepath.Base(file))); err == nil {
			if err := json.Unmarshal(text, &headers); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(body, headers["X-Webhook-Event"])
	}
}

// checkKept looks for each item of d where its result says that it is.
func checkKept(t *testing.T, conn *pgx.Conn, d *flowparse.Delivery, results []store.Result) {
	t.Helper()
	first := map[string]bool{}
	for i, r := range d.Responses {
		want := store.Stored
		if first[r.MessageID] {
			want = store.Duplicate
		}
		if results[i] != want {
			refused := query[string](t, conn, "SELECT coalesce(string_agg(detail, ', '), '') FROM quarantine WHERE reason = 'rejected_by_database'")
			t.Fatalf("response %d, %.80q: result %d, want %d; refused with %s\nanswers %.500q", i, r.MessageID, results[i], want, refused, r.Answers)
		}
		if want == store.Duplicate {
			continue
		}
		first[r.MessageID] = true
		if n := query[int](t, conn, `SELECT count(*)::int FROM flow_responses WHERE message_id = $1 AND raw = $2
			AND coalesce(flow_token, '') = $3 AND coalesce(contact_name, '') = $4`,
			r.MessageID, r.Raw, tokenOf(r), r.ContactName); n != 1 {
			t.Fatalf("response %d, %.80q: no such row", i, r.MessageID)
		}
	}
	for i, r := range d.Rejects {
		if got := results[len(d.Responses)+i]; got != store.Quarantined {
			t.Fatalf("reject %d: result %d", i, got)
		}
		if n := query[int](t, conn, "SELECT count(*)::int FROM quarantine WHERE body = $1 AND settled_at IS NULL", append([]byte{}, r.Body...)); n != 1 {
			t.Fatalf("reject %d: %d records", i, n)
		}
	}
}

// tokenOf returns r's flow token, or "" if there is none.
func tokenOf(r flowparse.Response) string {
	if r.FlowToken == nil {
		return ""
	}
	return *r.FlowToken
}
