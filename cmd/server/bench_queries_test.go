package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/store/flows"
)

// manyRowsSQL makes small rows from $1 to $2 of $3, as if they had come one after
// the other in the last 120 days: of 200 flows, from a million people, each
// tenth with a custom token.
const manyRowsSQL = `
INSERT INTO flow_responses (message_id, flow_token, token_kind, flow_id, flow_id_source, flow_name,
	response, response_status, wa_id, user_id, contact_name, source, raw, sent_at, received_at, stored_at)
SELECT 'wamid.' || lpad(to_hex(n), 16, '0'), CASE WHEN custom THEN 'order_' || n ELSE flow END,
	CASE WHEN custom THEN 'custom' ELSE 'flow_id' END, CASE WHEN NOT custom THEN flow END, CASE WHEN NOT custom THEN 'token_shape' END, 'flow',
	jsonb_build_object('flow_token', CASE WHEN custom THEN 'order_' || n ELSE flow END, 'appointment_date', to_char(at, 'YYYY-MM-DD'),
		'appointment_time', lpad((n % 24)::text, 2, '0') || ':00', 'guests', n % 7, 'reminder', n % 2 = 0),
	'ok', '1555' || lpad((n * 7919 % 1000000)::text, 7, '0'), 'US.' || n * 7919 % 1000000, 'Somebody', 'kapso', '{}', at, at, at
FROM generate_series($1::bigint, $2::bigint) AS n,
	LATERAL (SELECT n % 10 = 3 AS custom, '1197715005513' || lpad((n / 7 % 200)::text, 3, '0') AS flow,
		date_trunc('day', now()) - interval '120 days' * (1 - n / $3::float8) AS at) AS of`

// timedQuery is a query that must be quick on a full table.
type timedQuery struct {
	name  string
	limit time.Duration // for its 95th percentile
	sql   string
	arg   func(n int) any // of the nth run
}

func timedQueries(rows int) []timedQuery {
	flow := func(n int) any { return fmt.Sprintf("1197715005513%03d", n*37%200) }
	none := func(int) any { return nil }
	token := func(n int) any { return fmt.Sprintf("order_%d", n*7919%(rows/10)*10+3) }
	person := func(n int) any { return fmt.Sprintf("1555%07d", n*104729%min(rows, 1_000_000)) }
	const ms = time.Millisecond
	return []timedQuery{
		{"first page of a flow", 5 * ms, `SELECT stored_at, wa_id, response FROM flow_responses WHERE flow_id = $1 ORDER BY stored_at DESC LIMIT 50`, flow},
		{"the same through its view", 5 * ms, `SELECT * FROM flows.VIEW ORDER BY stored_at DESC LIMIT 50`, none},
		{"a custom token", 2 * ms, `SELECT stored_at, wa_id, response FROM flow_responses WHERE token_kind = 'custom' AND left(flow_token, 200) = $1 ORDER BY stored_at DESC`, token},
		{"the same through flows.unlinked", 2 * ms, `SELECT stored_at, wa_id, response FROM flows.unlinked WHERE token_kind = 'custom' AND left(flow_token, 200) = $1 ORDER BY stored_at DESC`, token},
		{"first page of flows.unlinked", 5 * ms, `SELECT * FROM flows.unlinked ORDER BY stored_at DESC LIMIT 50`, none},
		{"a person", 5 * ms, `SELECT stored_at, flow_id, flow_token, response FROM flow_responses WHERE wa_id = $1 ORDER BY stored_at DESC`, person},
		{"the same through a view", 5 * ms, `SELECT * FROM flows.VIEW WHERE wa_id = $1 ORDER BY stored_at DESC`, person},
		{"count of a flow's last 30 days", 200 * ms, `SELECT count(*) FROM flow_responses WHERE flow_id = $1 AND stored_at > now() - interval '30 days'`, flow},
		{"the same through its view", 200 * ms, `SELECT count(*) FROM flows.VIEW WHERE stored_at > now() - interval '30 days'`, none},
	}
}

// BenchmarkQueries fills a table with -fill small rows, makes the views from it
// and times what people ask most, as text for docs/queries.md.
func BenchmarkQueries(b *testing.B) {
	pg := startFillPostgres(b)
	fillRows(b, pg, *benchFill)
	k, err := flows.Open(pg.url, nil, zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	start := time.Now()
	n, err := k.Sync(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	fmt.Fprintf(os.Stdout, "\n%d rows, %d flows. Making all views from nothing took %v.\n", *benchFill, n, time.Since(start).Round(time.Second))
	start = time.Now()
	if _, _, err := k.List(context.Background()); err != nil {
		b.Fatal(err)
	}
	fmt.Fprintf(os.Stdout, "`flowkeep flows` took %v.\n\n| query | p50 | p95 | must be |\n|---|---|---|---|\n", time.Since(start).Round(time.Millisecond))
	pg.exec(b, "VACUUM (ANALYZE) flow_responses, flow_catalog") // as autovacuum does
	pg.checkpoint(b)
	var plans strings.Builder
	for _, q := range timedQueries(*benchFill) {
		p50, p95 := pg.time(b, q)
		fmt.Fprintf(os.Stdout, "| %s | %.2f ms | %.2f ms | %v |\n", q.name, p50.Seconds()*1000, p95.Seconds()*1000, q.limit)
		if p95 > q.limit {
			b.Errorf("%s: p95 %v, must be %v", q.name, p95, q.limit)
		}
		fmt.Fprintf(&plans, "%s:\n\n```\n%s\n\n%s\n```\n\n", q.name, q.on(1), pg.plan(b, q))
	}
	fmt.Fprintf(os.Stdout, "\n%s", plans.String())
}

// on is the query with the view of the nth run.
func (q timedQuery) on(n int) string {
	return strings.ReplaceAll(q.sql, "VIEW", fmt.Sprintf("flow_1197715005513%03d", n*37%200))
}

func (q timedQuery) args(n int) []any {
	if arg := q.arg(n); arg != nil {
		return []any{pgx.QueryExecModeExec, arg}
	}
	return []any{pgx.QueryExecModeExec}
}

// time runs the query 400 times, each with other arguments, and reads every row.
func (pg *benchPostgres) time(b *testing.B, q timedQuery) (p50, p95 time.Duration) {
	b.Helper()
	took := make([]time.Duration, 400)
	for i := range took {
		start := time.Now()
		rows, err := pg.admin.Query(context.Background(), q.on(i), q.args(i)...)
		if err != nil {
			b.Fatal(err)
		}
		for rows.Next() {
		}
		if rows.Err() != nil {
			b.Fatal(rows.Err())
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*95/100]
}

func (pg *benchPostgres) plan(b *testing.B, q timedQuery) string {
	b.Helper()
	rows, _ := pg.admin.Query(context.Background(), "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) "+q.on(1), q.args(1)...)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		b.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// startFillPostgres starts one that need not outlive a crash, so that filling it
// takes minutes, not an hour. Reading is not changed by that.
func startFillPostgres(b *testing.B) *benchPostgres {
	b.Helper()
	return startPostgresIn(b, openBenchDir(b), map[string]string{
		"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off",
		"max_wal_size": "8GB", "maintenance_work_mem": "1GB", "wal_level": "minimal", "max_wal_senders": "0",
	})
}

// fillRows makes the rows first and their indexes afterwards.
func fillRows(b *testing.B, pg *benchPostgres, rows int) {
	b.Helper()
	indexes, _ := pg.admin.Query(context.Background(), `SELECT indexdef FROM pg_indexes WHERE tablename = 'flow_responses' AND indexname <> 'flow_responses_pkey'`)
	again, err := pgx.CollectRows(indexes, pgx.RowTo[string])
	if err != nil {
		b.Fatal(err)
	}
	for _, sql := range again {
		name := strings.Fields(sql)[2]
		pg.exec(b, "DROP INDEX "+name)
	}
	const step = 1_000_000
	for from := 1; from <= rows; from += step {
		to := min(from+step-1, rows)
		pg.exec(b, manyRowsSQL, pgx.QueryExecModeExec, from, to, rows)
		fmt.Fprintf(os.Stderr, "filled %d of %d rows\n", to, rows)
	}
	for _, sql := range again {
		pg.exec(b, sql)
	}
	pg.exec(b, "VACUUM (ANALYZE) flow_responses")
}
