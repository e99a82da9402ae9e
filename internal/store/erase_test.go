package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store"
	"flowkeep/internal/store/storetest"
)

const (
	anasNumber = "15551234567"
	anasUserID = "US.13491208655302741918"
	// As WhatsApp makes them: 15551234567 stands in it.
	anasWamid = "wamid.HBgLMTU1NTEyMzQ1NjcVAgASGBQzQTRBNjU5OUFFRTAzODEwMTQ0RgA="
)

// from returns a response of a person; an empty id is unknown.
func from(id, waID, userID string) flowparse.Response {
	r := response(id)
	r.WaID, r.UserID = waID, userID
	return r
}

// received returns a delivery that reached us at a time.
func received(at time.Time, responses ...flowparse.Response) *flowparse.Delivery {
	d := delivery(responses...)
	d.ReceivedAt = at
	return d
}

func ids(t *testing.T, url string) string {
	t.Helper()
	return query[string](t, storetest.Connect(t, url), "SELECT coalesce(string_agg(message_id, ' ' ORDER BY message_id), '') FROM flow_responses")
}

func TestErase_APersonByAnyId(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]string{"number": anasNumber, "user id": anasUserID} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, url := newWriter(t, 1, 100)
			all := []flowparse.Response{
				from("a", anasNumber, ""), from("b", anasNumber, anasUserID), from("c", "", anasUserID),
				from("other", "15557654321", "US.other"), from("nobody", "", ""),
			}
			put(t, w, delivery(all...))
			db := open(t, url)
			e, err := db.ErasePerson(t.Context(), id)
			if err != nil || e.Responses != 3 || len(e.IDs) != 2 || time.Since(e.Cutoff).Abs() > time.Minute {
				t.Fatalf("%+v, %v", e, err)
			}
			if got := ids(t, url); got != "nobody other" {
				t.Errorf("left: %s", got)
			}
			// What was sent or received before does not come back; Ana may write again.
			want := []store.Result{store.Erased, store.Erased, store.Erased, store.Duplicate, store.Duplicate}
			if got := put(t, w, delivery(all...)); !slices.Equal(got, want) {
				t.Errorf("again: %v", got)
			}
			later := e.Cutoff.Add(time.Second)
			retry, anew := from("retry", anasNumber, ""), from("anew", anasNumber, "")
			retry.SentAt, anew.SentAt = e.Cutoff.Add(-time.Second), later
			if got := put(t, w, received(later, retry, anew, from("untimed", anasNumber, ""))); !slices.Equal(got, []store.Result{store.Erased, store.Stored, store.Stored}) {
				t.Errorf("later: %v", got)
			}
			again, err := db.ErasePerson(t.Context(), id)
			if err != nil || again.Responses != 0 || again.IDs[0] == 0 || !again.Cutoff.After(e.Cutoff) {
				t.Errorf("repeated: %+v, %v", again, err)
			}
		})
	}
}

func TestErase_AMessageForEver(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	put(t, w, delivery(from("a", anasNumber, ""), from("b", anasNumber, "")))
	e, err := open(t, url).EraseMessage(t.Context(), "a")
	if err != nil || e.Responses != 1 || !e.Cutoff.IsZero() {
		t.Fatalf("%+v, %v", e, err)
	}
	got := put(t, w, received(time.Now().Add(time.Hour), from("a", anasNumber, ""), from("a", "", ""), from("b", anasNumber, ""), from("c", anasNumber, "")))
	if want := []store.Result{store.Erased, store.Erased, store.Duplicate, store.Stored}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestErase_MoreThanOneTransactionHolds(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 3000)
	list := numbered("m", 2100)
	for i := range list {
		list[i].WaID = anasNumber
	}
	put(t, w, delivery(list...))
	if e, err := open(t, url).ErasePerson(t.Context(), anasNumber); err != nil || e.Responses != 2100 {
		t.Errorf("%+v, %v", e, err)
	}
}

// Whoever writes while a person is erased: what was received before the cut-off
// is not there afterwards, and nothing that came later was lost.
func TestErase_AmidWriters(t *testing.T) {
	t.Parallel()
	url := postgres.New(t)
	db := open(t, url)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for i := range 4 {
		w := store.NewWriter(open(t, url), 2, 1000, zerolog.Nop())
		t.Cleanup(w.Close)
		writers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				old := from(fmt.Sprintf("old-%d-%d", i, n), anasNumber, "")
				old.SentAt = time.Now().Add(-time.Hour) // a retry, or from a spool
				again := from(fmt.Sprintf("old-%d", n%50), anasNumber, "")
				again.SentAt = old.SentAt
				d := received(time.Now(), old, again, from(fmt.Sprintf("now-%d-%d", i, n), anasNumber, ""), response(fmt.Sprintf("other-%d-%d", i, n)))
				if results, err := w.Put(t.Context(), d); err != nil || results[3] != store.Stored {
					t.Errorf("%v, %v", results, err)
				}
			}
		})
	}
	conn := storetest.Connect(t, url)
	const left = "SELECT count(*)::int FROM flow_responses WHERE wa_id = $1 AND least(sent_at, received_at) <= $2"
	for range 20 {
		storetest.Eventually(t, "somebody wrote", func() bool {
			return query[bool](t, conn, "SELECT EXISTS (SELECT FROM flow_responses WHERE wa_id = $1)", anasNumber)
		})
		e, err := db.ErasePerson(t.Context(), anasNumber)
		if err != nil {
			t.Fatal(err)
		}
		if n := query[int](t, conn, left, anasNumber, e.Cutoff); n != 0 {
			t.Errorf("%d rows are back", n)
		}
	}
	close(stop)
	writers.Wait()
	if n := query[int](t, conn, "SELECT count(*)::int FROM flow_responses WHERE message_id LIKE 'old-%'"); n != 0 {
		t.Errorf("%d old rows are back", n)
	}
}

// A transaction that began before is waited for, and what it brings is deleted.
func TestErase_WaitsForASlowWriter(t *testing.T) {
	t.Parallel()
	_, url := newWriter(t, 1, 10)
	slow, conn := storetest.Connect(t, url), storetest.Connect(t, url)
	if _, err := slow.Exec(t.Context(), `BEGIN; INSERT INTO flow_responses (message_id, token_kind, response, response_status, wa_id, source, raw, received_at)
		VALUES ('slow', 'none', '{}', 'ok', '`+anasNumber+`', 'kapso', '', now())`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	var e *store.Erasure
	go func() {
		var err error
		e, err = open(t, url).ErasePerson(t.Context(), anasNumber)
		done <- err
	}()
	storetest.Eventually(t, "the tombstone stands", func() bool { return query[bool](t, conn, "SELECT EXISTS (SELECT FROM erasures)") })
	select {
	case <-done:
		t.Fatal("it did not wait")
	default:
	}
	if _, err := slow.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || e.Responses != 1 {
		t.Errorf("%+v, %v", e, err)
	}
}

// Who interrupts it does not hear that a transaction took too long.
func TestErase_InterruptedWhileItWaits(t *testing.T) {
	t.Parallel()
	_, url := newWriter(t, 1, 10)
	slow, conn := storetest.Connect(t, url), storetest.Connect(t, url)
	if _, err := slow.Exec(t.Context(), "BEGIN; LOCK TABLE flow_responses IN ROW EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	db := open(t, url)
	go func() {
		_, err := db.ErasePerson(ctx, anasNumber)
		done <- err
	}()
	storetest.Eventually(t, "the tombstone stands", func() bool { return query[bool](t, conn, "SELECT EXISTS (SELECT FROM erasures)") })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrStillWriting) {
		t.Error(err)
	}
}

func TestErase_Quarantine(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	about := junk(
		`{"from":"`+anasNumber+`"}`, `{"from":"+1 (555) 123-4567"}`, `{"user_id":"`+anasUserID+`"}`, `{"id":"`+anasWamid+`"}`,
		`from=`+anasNumber+`&x=1`, `{"path":"a\/b\/`+anasNumber+`"}`)
	others := junk(`{"from":"15557654321"}`, `{"n":"915551234567"}`, "\x00\xff", "")
	put(t, w, about)
	put(t, w, others)
	conn := storetest.Connect(t, url)
	if _, err := conn.Exec(t.Context(), "UPDATE quarantine SET settled_at = now(), settled_as = 'discarded' WHERE id <= 2"); err != nil {
		t.Fatal(err)
	}
	db := open(t, url)
	if _, err := db.EraseMessage(t.Context(), anasUserID); err != nil { // so that both its ids are erased
		t.Fatal(err)
	}
	e, err := db.ErasePerson(t.Context(), anasNumber)
	if err != nil || e.Quarantined != 5 {
		t.Errorf("%+v, %v", e, err)
	}
	if n := query[int](t, conn, "SELECT count(*)::int FROM quarantine"); n != 4 {
		t.Errorf("%d records are left", n)
	}
	if n := counts(put(t, w, about)); n[store.Erased] != 6 {
		t.Errorf("again: %v", n)
	}
	if n := counts(put(t, w, others)); n[store.Quarantined] != 4 {
		t.Errorf("others again: %v", n)
	}
	about.ReceivedAt = e.Cutoff.Add(time.Second)
	if n := counts(put(t, w, about)); n[store.Quarantined] != 5 || n[store.Erased] != 1 {
		t.Errorf("later: %v", n)
	}
}

// Thousands of other ids do not hide a number.
func TestErase_ANumberBehindManyIDs(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 10)
	var ids strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&ids, "abcdefg-%d ", i)
	}
	put(t, w, junk(ids.String()+"+1 (555) 123-4567", ids.String()+"*"+anasNumber+"*"))
	if e, err := open(t, url).ErasePerson(t.Context(), anasNumber); err != nil || e.Quarantined != 2 {
		t.Errorf("%+v, %v", e, err)
	}
}

// A response that the database refuses is as old as its message.
func TestErase_AnOldResponseThatIsRefused(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	e, err := open(t, url).ErasePerson(t.Context(), anasNumber)
	if err != nil {
		t.Fatal(err)
	}
	old := poison("a")
	old.SentAt, old.Raw = e.Cutoff.Add(-time.Minute), []byte(`{"from":"`+anasNumber+`"}`)
	if got := put(t, w, received(e.Cutoff.Add(time.Minute), old)); got[0] != store.Erased {
		t.Errorf("%v", got)
	}
}

// A record that was restored with what is erased in it is not replayed.
func TestErase_Replay(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	db := open(t, url)
	if _, err := db.ErasePerson(t.Context(), anasNumber); err != nil {
		t.Fatal(err)
	}
	conn := storetest.Connect(t, url)
	if _, err := conn.Exec(t.Context(), `INSERT INTO quarantine (received_at, source, reason, body) VALUES (now() - interval '1 day', 'kapso', 'unknown_shape', $1)`,
		[]byte(flowBody("hers", `{"a":1}`))); err != nil {
		t.Fatal(err)
	}
	got, err := w.Replay(t.Context(), flowparse.New(nil), waits(t, db))
	if diff := cmp.Diff(store.Replayed{SettledAs: store.DroppedErased}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if n := query[int](t, conn, "SELECT (SELECT count(*) FROM quarantine)::int + (SELECT count(*) FROM flow_responses)::int"); n != 0 {
		t.Errorf("%d rows and records", n)
	}
}

func TestErase_AgainAfterARestore(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 10_000)
	list := numbered("m", 5100)
	for i := range list {
		if i%50 == 0 {
			list[i].WaID = anasNumber
		}
	}
	put(t, w, delivery(list...))
	put(t, w, junk(`{"from":"`+anasNumber+`"}`))
	conn, db := storetest.Connect(t, url), open(t, url)
	if _, err := conn.Exec(t.Context(), "CREATE TABLE backup AS SELECT * FROM flow_responses; CREATE TABLE kept AS SELECT body FROM quarantine"); err != nil {
		t.Fatal(err)
	}
	if e, err := db.ErasePerson(t.Context(), anasNumber); err != nil || e.Responses != 102 || e.Quarantined != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := conn.Exec(t.Context(), `TRUNCATE flow_responses; INSERT INTO flow_responses SELECT * FROM backup;
		INSERT INTO quarantine (received_at, source, reason, body) SELECT now() - interval '1 day', 'kapso', 'not_json', body FROM kept`); err != nil {
		t.Fatal(err)
	}
	if e, err := db.EraseAgain(t.Context()); err != nil || e.Responses != 102 || e.Quarantined != 1 {
		t.Errorf("again: %+v, %v", e, err)
	}
	if n := query[int](t, conn, "SELECT count(*)::int FROM flow_responses"); n != 4998 {
		t.Errorf("%d rows", n)
	}
}

// A role that may write answers may look for tombstones after the migration, so
// that a server whose role owns nothing goes on.
func TestErase_Rights(t *testing.T) {
	t.Parallel()
	url := postgres.NewEmpty(t)
	conn := storetest.Connect(t, url)
	if err := store.MigrateUp(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	for query[bool](t, conn, "SELECT to_regclass('erasures') IS NOT NULL") {
		if _, err := store.MigrateDown(t.Context(), url); err != nil {
			t.Fatal(err)
		}
	}
	// Roles of the server's own, which every test database knows.
	if _, err := conn.Exec(t.Context(), `GRANT SELECT, INSERT, UPDATE ON flow_responses TO pg_monitor; GRANT SELECT ON flow_responses TO pg_signal_backend`); err != nil {
		t.Fatal(err)
	}
	if err := store.MigrateUp(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	const may = "SELECT has_table_privilege($1, 'erasures', 'SELECT') AND has_table_privilege($1, 'erasure_key', 'SELECT')"
	if !query[bool](t, conn, may, "pg_monitor") {
		t.Error("who writes answers cannot see what is erased")
	}
	if query[bool](t, conn, may, "pg_signal_backend") || query[bool](t, conn, may, "public") {
		t.Error("who reads answers can test numbers against the tombstones")
	}
}
