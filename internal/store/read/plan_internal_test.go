package read

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/store/storetest"
)

var postgres *storetest.Server

func TestMain(m *testing.M) {
	os.Exit(storetest.Run(m, func(s *storetest.Server) { postgres = s }))
}

// Postgres returns the package's Postgres, for the tests that see it from
// outside.
func Postgres() *storetest.Server { return postgres }

// Each question is answered from an index, and none sorts what it reads but for
// rows of the same microsecond.
func TestQuery_EveryCombinationUsesAnIndex(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), postgres.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	if _, err := conn.Exec(t.Context(), `
		INSERT INTO flow_responses (message_id, flow_token, token_kind, flow_id, response, response_status, wa_id, user_id, source, raw, received_at, stored_at)
		SELECT 'wamid.' || i, CASE WHEN i % 2 = 0 THEN 'flow ' || i % 40 ELSE 'order-' || i END, CASE WHEN i % 2 = 0 THEN 'flow_id' ELSE 'custom' END,
			CASE WHEN i % 2 = 0 THEN 'flow ' || i % 40 END, '{}', 'ok', (i % 5000)::text, (i % 5000)::text, 'kapso', '', now(), now() - i * interval '1 minute'
		FROM generate_series(1, 200000) AS i;
		ANALYZE flow_responses`); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	place := cursor([]byte{0, 2, 0xe0, 0, 0, 0, 0, 0}, []byte("wamid.7"))
	for _, filter := range []Query{
		{},
		{FlowID: "flow 2"},
		{FlowToken: "flow 2"},
		{FlowToken: "order-77"},
		{WaID: "77"},
		{UserID: "77"},
		{FlowID: "flow 2", WaID: "78"},
		{FlowID: "flow 2", UserID: "78"},
		{FlowID: "flow 2", FlowToken: "flow 2"},
		{FlowID: "none", FlowToken: "order-77"},
		{FlowToken: "flow 2", WaID: "78", UserID: "78"},
		{WaID: "78", UserID: "78"},
	} {
		for _, span := range []Query{{}, {Since: now.AddDate(0, 0, -7)}, {Until: now.AddDate(0, 0, -7)}, {Since: now.AddDate(0, 0, -9), Until: now.AddDate(0, 0, -7)}} {
			for _, after := range []string{"", place} {
				for _, oldest := range []bool{false, true} {
					q := filter
					q.Since, q.Until, q.After, q.OldestFirst, q.Limit = span.Since, span.Until, after, oldest, 100
					sql, args, err := q.sql()
					if err != nil {
						t.Fatal(err)
					}
					rows, _ := conn.Query(t.Context(), "EXPLAIN "+sql, append([]any{pgx.QueryExecModeExec}, args...)...)
					lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
					plan := strings.Join(lines, "\n")
					if err != nil || strings.Contains(plan, "Seq Scan") {
						t.Errorf("%+v: %v\n%s", q, err, plan)
					}
				}
			}
		}
	}
}
