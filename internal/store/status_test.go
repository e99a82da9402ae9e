package store_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store"
	"flowkeep/internal/store/storetest"
)

var sentTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func status(wamid string, state flowparse.SendState, minute int) flowparse.SendStatus {
	s := flowparse.SendStatus{Wamid: wamid, State: state, At: sentTime.Add(time.Duration(minute) * time.Minute)}
	if state == flowparse.StateFailed {
		s.Failure = "131026"
	}
	return s
}

func statuses(list ...flowparse.SendStatus) *flowparse.Delivery {
	d := delivery()
	d.Statuses = list
	return d
}

func register(t *testing.T, conn *pgx.Conn, values string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), `INSERT INTO flow_sends (wamid, flow_id, status) VALUES `+values); err != nil {
		t.Fatal(err)
	}
}

const sendSQL = `SELECT row(status, delivered_at AT TIME ZONE 'UTC', read_at AT TIME ZONE 'UTC', failed_at AT TIME ZONE 'UTC', failure)::text FROM flow_sends WHERE wamid = $1`

func TestStatus_NeverGoesBackWhateverTheOrder(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 2, 1000)
	conn := storetest.Connect(t, url)
	register(t, conn, `('good', '1', 'sent'), ('bad', '1', 'sent')`)
	told := []flowparse.SendStatus{
		status("good", flowparse.StateSent, 0), status("good", flowparse.StateDelivered, 1), status("good", flowparse.StateRead, 2),
		status("bad", flowparse.StateSent, 0), status("bad", flowparse.StateFailed, 1),
		status("nobody registered it", flowparse.StateRead, 1),
	}
	for range 20 {
		if _, err := conn.Exec(t.Context(), `UPDATE flow_sends SET status = 'sent', delivered_at = NULL, read_at = NULL, failed_at = NULL, failure = NULL`); err != nil {
			t.Fatal(err)
		}
		many := append(append([]flowparse.SendStatus{}, told...), told...)
		rand.Shuffle(len(many), func(i, j int) { many[i], many[j] = many[j], many[i] })
		cut := rand.IntN(len(many))
		for _, part := range [][]flowparse.SendStatus{many[:cut], many[cut:]} {
			for _, r := range put(t, w, statuses(part...)) {
				if r != store.Noted {
					t.Fatalf("result %v", r)
				}
			}
		}
		if got := query[string](t, conn, sendSQL, "good"); got != `(read,"2026-01-02 03:05:05","2026-01-02 03:06:05",,)` {
			t.Fatalf("%v, cut at %d: %s", many, cut, got)
		}
		if got := query[string](t, conn, sendSQL, "bad"); got != `(failed,,,"2026-01-02 03:05:05",131026)` {
			t.Fatalf("%v, cut at %d: %s", many, cut, got)
		}
	}
	if n := query[int](t, conn, `SELECT count(*)::int FROM flow_sends`); n != 2 {
		t.Errorf("%d sends", n)
	}
}

func TestStatus_FailedIsNoMoreThanSent(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 2, 1000)
	conn := storetest.Connect(t, url)
	register(t, conn, `('1', '1', 'delivered'), ('2', '1', 'in_doubt'), ('3', '1', 'failed')`)
	put(t, w, statuses(status("1", flowparse.StateFailed, 1), status("2", flowparse.StateFailed, 1), status("3", flowparse.StateDelivered, 1)))
	if got := query[string](t, conn, `SELECT string_agg(status, ' ' ORDER BY wamid) FROM flow_sends`); got != "delivered failed delivered" {
		t.Error(got)
	}
}

func TestStatus_OneThatCarriesTheFlowRegistersTheSend(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 2, 1000)
	conn := storetest.Connect(t, url)
	register(t, conn, `('mine', '1', 'sent')`)
	carries := status("theirs", flowparse.StateSent, 0)
	carries.FlowID, carries.FlowToken, carries.Recipient, carries.PhoneNumberID = "1197715005513101", "order-7", "15551234567", "647015955153740"
	mine, template := carries, carries
	mine.Wamid, template.Wamid, template.Template, template.At = "mine", "template", "booking", time.Time{}
	for range 2 {
		put(t, w, statuses(carries, mine, template, status("theirs", flowparse.StateRead, 5)))
	}
	const sql = `SELECT string_agg(row(wamid, flow_id, flow_token, recipient, phone_number_id, kind, template, status, sent_at AT TIME ZONE 'UTC' < '2026-02-01')::text, ' ' ORDER BY wamid) FROM flow_sends`
	want := `(mine,1,,,,interactive,,sent,f) (template,1197715005513101,order-7,15551234567,647015955153740,template,booking,sent,t) (theirs,1197715005513101,order-7,15551234567,647015955153740,interactive,,read,t)`
	if got := query[string](t, conn, sql); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestStatus_AnswersAreStoredBesideThem(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 2, 1000)
	conn := storetest.Connect(t, url)
	// Somebody's own trigger must not hold up deliveries.
	if _, err := conn.Exec(t.Context(), `ALTER TABLE flow_sends ADD CONSTRAINT mine CHECK (status <> 'read')`); err != nil {
		t.Fatal(err)
	}
	register(t, conn, `('1', '1', 'sent')`)
	d := delivery(response("a"), poison("b"))
	d.Rejects = []flowparse.Reject{{Reason: flowparse.ReasonNotJSON, Body: []byte("x")}}
	d.Statuses = []flowparse.SendStatus{status("1", flowparse.StateRead, 1)}
	got := put(t, w, d)
	want := []store.Result{store.Stored, store.Quarantined, store.Quarantined, store.Noted}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("results %v, want %v", got, want)
		}
	}
}

func TestStatus_ManyWritersOfTheSameSends(t *testing.T) {
	t.Parallel()
	_, url := newWriter(t, 1, 1)
	conn := storetest.Connect(t, url)
	if _, err := conn.Exec(t.Context(), `INSERT INTO flow_sends (wamid, flow_id) SELECT i::text, '1' FROM generate_series(1, 200) AS i`); err != nil {
		t.Fatal(err)
	}
	var all []flowparse.SendStatus
	for _, wamid := range query[[]string](t, conn, `SELECT array_agg(wamid) FROM flow_sends`) {
		for _, state := range []flowparse.SendState{flowparse.StateSent, flowparse.StateDelivered, flowparse.StateRead} {
			all = append(all, status(wamid, state, 1))
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		w := store.NewWriter(open(t, url), 2, 5000, zerolog.Nop())
		t.Cleanup(w.Close)
		mine := append([]flowparse.SendStatus{}, all...)
		rand.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
		wg.Go(func() {
			for len(mine) > 0 {
				if _, err := w.Put(t.Context(), statuses(mine[:50]...)); err != nil {
					t.Error(err)
					return
				}
				mine = mine[50:]
			}
		})
	}
	wg.Wait()
	if n := query[int](t, conn, `SELECT count(*)::int FROM flow_sends WHERE status = 'read'`); n != 200 {
		t.Errorf("%d are read", n)
	}
}
