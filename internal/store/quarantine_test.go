package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store"
	"flowkeep/internal/store/storetest"
)

// junk returns a delivery with a reject for each body.
func junk(bodies ...string) *flowparse.Delivery {
	d := delivery()
	for _, b := range bodies {
		d.Rejects = append(d.Rejects, flowparse.Reject{Reason: flowparse.ReasonUnknownShape, Detail: "junk", Body: []byte(b)})
	}
	return d
}

// flowBody is a Kapso body with one Flow response.
func flowBody(id, answers string) string {
	return fmt.Sprintf(`{"message":{"id":%q,"from":"15551234567","type":"interactive",`+
		`"interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","response_json":%q}}}}`, id, answers)
}

func batchBody(items string) string {
	return `{"type":"whatsapp.message.received","batch":true,"data":[` + items + `]}`
}

func counts(results []store.Result) map[store.Result]int {
	n := map[store.Result]int{}
	for _, r := range results {
		n[r]++
	}
	return n
}

func TestQuarantine_BoundedByRecords(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 2, 1000)
	w.LimitQuarantine(store.QuarantineLimit{Records: 10, Bytes: 1 << 20})
	got := map[store.Result]int{}
	for i := range 30 {
		d := junk(fmt.Sprint("junk ", i), fmt.Sprint("junk ", i))
		d.Responses = numbered(fmt.Sprint("neighbour of ", i), 1)
		for r, n := range counts(put(t, w, d)) {
			got[r] += n
		}
	}
	if diff := cmp.Diff(map[store.Result]int{store.Stored: 30, store.Quarantined: 20, store.TurnedAway: 40}, got); diff != "" {
		t.Error(diff)
	}
	if w.TurnedAway() != 40 {
		t.Errorf("counted %d", w.TurnedAway())
	}
	// What is there already is the same record, among others that are not.
	results := put(t, w, junk("new", "junk 3", "newer"))
	if !slices.Equal(results, []store.Result{store.TurnedAway, store.Quarantined, store.TurnedAway}) {
		t.Errorf("%v", results)
	}
	conn := storetest.Connect(t, url)
	if n := query[int](t, conn, "SELECT count(*)::int FROM quarantine"); n != 10 {
		t.Errorf("%d records", n)
	}
	// Another replica finds it full too; once somebody settles some, there is room.
	other := store.NewWriter(open(t, url), 1, 100, zerolog.Nop())
	t.Cleanup(other.Close)
	other.LimitQuarantine(store.QuarantineLimit{Records: 10, Bytes: 1 << 20})
	if n := counts(put(t, other, junk("a", "b", "c"))); n[store.TurnedAway] != 3 {
		t.Errorf("the other replica: %v", n)
	}
	query[int](t, conn, "WITH u AS (UPDATE quarantine SET settled_at = now(), settled_as = 'discarded' WHERE id <= 2 RETURNING 1) SELECT count(*)::int FROM u")
	later := store.NewWriter(open(t, url), 1, 100, zerolog.Nop())
	t.Cleanup(later.Close)
	later.LimitQuarantine(store.QuarantineLimit{Records: 10, Bytes: 1 << 20})
	if n := counts(put(t, later, junk("a", "b", "c"))); n[store.Quarantined] < 1 || n[store.TurnedAway] < 1 {
		t.Errorf("with room: %v", n)
	}
}

func TestQuarantine_BoundedByBytes(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 1000)
	w.LimitQuarantine(store.QuarantineLimit{Records: 1000, Bytes: 100})
	large := string(make([]byte, 60))
	results := put(t, w, junk("1"+large, "2"+large, "small"))
	if !slices.Equal(results, []store.Result{store.Quarantined, store.TurnedAway, store.Quarantined}) {
		t.Errorf("%v", results)
	}
	if n := query[int](t, storetest.Connect(t, url), "SELECT sum(length(body))::int FROM quarantine"); n != 66 {
		t.Errorf("%d bytes", n)
	}
}

// waits returns the id of the only record that waits.
func waits(t *testing.T, db *store.DB) int64 {
	t.Helper()
	ids, err := db.QuarantineIDs(t.Context(), store.QuarantineFilter{}, 0, 10)
	if err != nil || len(ids) != 1 {
		t.Fatalf("%v wait, %v", ids, err)
	}
	return ids[0]
}

func TestReplay(t *testing.T) {
	t.Parallel()
	good, alsoGood := flowBody("good", `{"a":1}`), flowBody("also good", `{"a":1}`)
	bad := flowBody("bad", `17`)
	for name, c := range map[string]struct {
		body   string
		before *flowparse.Delivery // what is in the tables already
		want   store.Replayed
		rows   []string // ids in flow_responses afterwards
		left   int      // records that wait afterwards
	}{
		"one response":       {body: good, want: store.Replayed{SettledAs: "stored"}, rows: []string{"good"}},
		"there already":      {body: good, before: delivery(response("good")), want: store.Replayed{SettledAs: "duplicate"}, rows: []string{"good"}},
		"not ours":           {body: `{"message":{"id":"t","type":"text","text":{"body":"hi"}}}`, want: store.Replayed{SettledAs: "ignored"}},
		"several":            {body: batchBody(good + "," + alsoGood), want: store.Replayed{SettledAs: "stored"}, rows: []string{"also good", "good"}},
		"some there":         {body: batchBody(good + "," + alsoGood), before: delivery(response("good")), want: store.Replayed{SettledAs: "stored"}, rows: []string{"also good", "good"}},
		"no JSON":            {body: `{`, want: store.Replayed{Reason: "not_json", Detail: "the body is not JSON"}, left: 1},
		"bad answers":        {body: bad, want: store.Replayed{Reason: "bad_response_json", Detail: "response_json holds no object or list"}, left: 1},
		"one of several bad": {body: batchBody(good + "," + bad), want: store.Replayed{SettledAs: "stored"}, rows: []string{"good"}, left: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, url := newWriter(t, 1, 100)
			db, conn := open(t, url), storetest.Connect(t, url)
			if c.before != nil {
				put(t, w, c.before)
			}
			d := junk(c.body)
			d.IdempotencyKey, d.Event = "k", "whatsapp.message.received"
			put(t, w, d)
			id := waits(t, db)
			got, err := w.Replay(t.Context(), flowparse.New(nil), id)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			rows, _ := conn.Query(t.Context(), "SELECT message_id FROM flow_responses ORDER BY message_id")
			if ids, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || !slices.Equal(ids, c.rows) {
				t.Errorf("%v rows, %v", ids, err)
			}
			if n := query[int](t, conn, "SELECT count(*)::int FROM quarantine WHERE settled_at IS NULL"); n != c.left {
				t.Errorf("%d records wait, want %d", n, c.left)
			}
			record, err := db.QuarantineRecord(t.Context(), id)
			if err != nil || (record.SettledAs == nil) != (c.want.SettledAs == "") || record.SettledAs != nil && *record.SettledAs != c.want.SettledAs {
				t.Errorf("%+v, %v", record, err)
			}
			if c.want.Reason != "" && (record.Reason != c.want.Reason || record.Detail != c.want.Detail) {
				t.Errorf("the record says %s, %s", record.Reason, record.Detail)
			}
			if _, err := w.Replay(t.Context(), flowparse.New(nil), id); c.left == 0 && !errors.Is(err, store.ErrNoRecord) {
				t.Errorf("once more: %v", err)
			}
		})
	}
}

// A replayed response has the time and the key that its delivery had, and its
// flow is told by today's flow ids.
func TestReplay_IsReadAsItsDelivery(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	d := junk(flowBody("a", `{"flow_token":"12"}`))
	d.IdempotencyKey = "k-1"
	put(t, w, d)
	if _, err := w.Replay(t.Context(), flowparse.New([]string{"12"}), waits(t, open(t, url))); err != nil {
		t.Fatal(err)
	}
	rows, _ := storetest.Connect(t, url).Query(t.Context(), "SELECT flow_id, flow_id_source, idempotency_key, received_at, convert_from(raw, 'UTF8') AS raw FROM flow_responses")
	got, err := pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
	if err != nil {
		t.Fatal(err)
	}
	got["received_at"] = got["received_at"].(time.Time).UTC()
	if diff := cmp.Diff(map[string]any{
		"flow_id": "12", "flow_id_source": "known_flow", "idempotency_key": "k-1", "received_at": d.ReceivedAt, "raw": string(d.Rejects[0].Body),
	}, got); diff != "" {
		t.Error(diff)
	}
}

// What Postgres refuses stays, as the one record that it is, until Postgres
// takes it.
func TestReplay_RejectedByTheDatabase(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	db, conn := open(t, url), storetest.Connect(t, url)
	put(t, w, junk(flowBody("poison", `{"a":1}`)))
	id := waits(t, db)
	if _, err := conn.Exec(t.Context(), "ALTER TABLE flow_responses ADD CONSTRAINT no_poison CHECK (message_id <> 'poison')"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, err := w.Replay(t.Context(), flowparse.New(nil), id)
		if diff := cmp.Diff(store.Replayed{Reason: "rejected_by_database", Detail: "SQLSTATE 23514"}, got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		if waits(t, db) != id {
			t.Error("another record waits")
		}
	}
	if _, err := conn.Exec(t.Context(), "ALTER TABLE flow_responses DROP CONSTRAINT no_poison"); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Replay(t.Context(), flowparse.New(nil), id); err != nil || got.SettledAs != "stored" {
		t.Errorf("%+v, %v", got, err)
	}
}

// While the database cannot take the row, the record waits.
func TestReplay_IsNotSettledBeforeItIsSafe(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	db, conn := open(t, url), storetest.Connect(t, url)
	put(t, w, junk(flowBody("a", `{"a":1}`)))
	id := waits(t, db)
	release := lockTable(t, storetest.Connect(t, url))
	if _, err := w.Replay(t.Context(), flowparse.New(nil), id); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("with the table locked: %v", err)
	}
	release()
	if waits(t, db) != id {
		t.Error("it was settled")
	}
	// A crash after the row was stored: the next replay finds a duplicate.
	put(t, w, delivery(response("a")))
	if got, err := w.Replay(t.Context(), flowparse.New(nil), id); err != nil || got.SettledAs != "duplicate" {
		t.Errorf("%+v, %v", got, err)
	}
	if n := query[int](t, conn, "SELECT count(*)::int FROM flow_responses"); n != 1 {
		t.Errorf("%d rows", n)
	}
}
