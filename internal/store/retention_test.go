package store_test

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/store"
	"flowkeep/internal/store/storetest"
)

// fillWithAges makes a database with answers of three flows and of none, and
// sends of two flows, one a day for so many days, and as many records in
// quarantine.
func fillWithAges(t *testing.T, days int) (string, *pgx.Conn) {
	t.Helper()
	url := postgres.New(t)
	conn := storetest.Connect(t, url)
	if _, err := conn.Exec(t.Context(), `
		INSERT INTO flow_responses (message_id, token_kind, flow_id, response, response_status, source, raw, received_at, stored_at)
		SELECT flow || '-' || day, 'none', nullif(flow, 'none'), '{}', 'ok', 'kapso', '', now(), now() - day * interval '1 day' + interval '1 hour'
		FROM unnest(ARRAY['a', 'b', 'c', 'none']) AS flow, generate_series(1, `+strconv.Itoa(days)+`) AS day;
		INSERT INTO flow_sends (flow_id, status, sent_at)
		SELECT flow, 'in_doubt', now() - day * interval '1 day' + interval '1 hour'
		FROM unnest(ARRAY['a', 'd']) AS flow, generate_series(1, `+strconv.Itoa(days)+`) AS day;
		INSERT INTO quarantine (received_at, source, reason, body)
		SELECT now() - day * interval '1 day' + interval '1 hour', 'kapso', 'not_json', int4send(day) FROM generate_series(1, `+strconv.Itoa(days)+`) AS day`); err != nil {
		t.Fatal(err)
	}
	return url, conn
}

const leftSQL = `
SELECT string_agg(flow || ' ' || n, ', ' ORDER BY flow) FROM (
	SELECT coalesce(flow_id, 'none') AS flow, count(*) AS n FROM flow_responses GROUP BY 1
	UNION ALL SELECT 'sends of ' || flow_id, count(*) FROM flow_sends GROUP BY 1
	UNION ALL SELECT 'quarantine', count(*) FROM quarantine) AS t`

func TestRetention_EachFlowAsLongAsItMayBeKept(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		keep    time.Duration
		catalog string
		want    string
	}{
		"for ever":        {0, ``, "a 100, b 100, c 100, none 100, quarantine 100, sends of a 100, sends of d 100"},
		"all alike":       {10 * day, ``, "a 10, b 10, c 10, none 10, quarantine 10, sends of a 10, sends of d 10"},
		"all but some":    {10 * day, `('a', '30 days'), ('b', '0')`, "a 30, b 100, c 10, none 10, quarantine 10, sends of a 30, sends of d 10"},
		"only some":       {0, `('a', '30 days'), ('b', '0'), ('c', NULL)`, "a 30, b 100, c 100, none 100, quarantine 100, sends of a 30, sends of d 100"},
		"nothing overdue": {200 * day, `('a', '900 days')`, "a 100, b 100, c 100, none 100, quarantine 100, sends of a 100, sends of d 100"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, conn := fillWithAges(t, 100)
			if c.catalog != "" {
				if _, err := conn.Exec(t.Context(), "INSERT INTO flow_catalog (id, retention) VALUES "+c.catalog); err != nil {
					t.Fatal(err)
				}
			}
			r := store.NewRetention(open(t, url), c.keep, zerolog.Nop())
			before := query[int64](t, conn, "SELECT (SELECT count(*) FROM flow_responses) + (SELECT count(*) FROM flow_sends) + (SELECT count(*) FROM quarantine)")
			done, err := r.Round(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := query[string](t, conn, leftSQL); got != c.want {
				t.Errorf("left: %s, want %s", got, c.want)
			}
			after := query[int64](t, conn, "SELECT (SELECT count(*) FROM flow_responses) + (SELECT count(*) FROM flow_sends) + (SELECT count(*) FROM quarantine)")
			if done.Responses+done.Sends+done.Quarantined != before-after {
				t.Errorf("told %+v, deleted %d", done, before-after)
			}
		})
	}
}

// More than a batch, by two replicas at a time, beside writers that send again
// what is being deleted, and somebody who has a row locked.
func TestRetention_BesideOthers(t *testing.T) {
	t.Parallel()
	url, conn := fillWithAges(t, 2500)
	locked := storetest.Connect(t, url)
	if _, err := locked.Exec(t.Context(), "BEGIN; SELECT FROM flow_responses WHERE message_id = 'a-2000' FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 2 {
		r := store.NewRetention(open(t, url), 24*time.Hour, zerolog.Nop())
		wait.Go(func() {
			for range 3 {
				if _, err := r.Round(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	w := store.NewWriter(open(t, url), 2, 10_000, zerolog.Nop())
	t.Cleanup(w.Close)
	for i := range 5 {
		wait.Go(func() {
			d := delivery(numbered("c", 1000)...)
			for j := range d.Responses {
				d.Responses[j].MessageID = "c-" + strconv.Itoa(i*400+j)
			}
			put(t, w, d)
		})
	}
	wait.Wait()
	if _, err := store.NewRetention(open(t, url), 24*time.Hour, zerolog.Nop()).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	const old = "SELECT coalesce(string_agg(message_id, ' '), '') FROM flow_responses WHERE stored_at < now() - interval '1 day'"
	if got := query[string](t, conn, old); got != "a-2000" {
		t.Errorf("left: %.100s", got)
	}
	if n := query[int](t, conn, "SELECT count(*)::int FROM quarantine"); n != 1 {
		t.Errorf("%d records", n)
	}
}

// The oldest are found by an index, however many rows there are.
func TestRetention_Plans(t *testing.T) {
	t.Parallel()
	_, conn := fillWithAges(t, 5000)
	if _, err := conn.Exec(t.Context(), "ANALYZE flow_responses; ANALYZE quarantine"); err != nil {
		t.Fatal(err)
	}
	for index, from := range map[string]string{
		"flow_responses_flow_idx":     "flow_responses WHERE flow_id = 'a' AND stored_at < now() - interval '30 days' ORDER BY stored_at",
		"flow_responses_unlinked_idx": "flow_responses WHERE flow_id IS NULL AND stored_at < now() - interval '30 days' ORDER BY stored_at",
		"quarantine_received_idx":     "quarantine WHERE received_at < now() - interval '30 days' ORDER BY received_at",
	} {
		wantIndex(t, conn, index, "SELECT FROM "+from+" LIMIT 1000 FOR UPDATE SKIP LOCKED")
	}
}
