package flows_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/store/flows"
	"flowkeep/internal/store/storetest"
)

const flowID = "1197715005513101"

var postgres *storetest.Server

func TestMain(m *testing.M) {
	os.Exit(storetest.Run(m, func(s *storetest.Server) { postgres = s }))
}

// desk is a database with a session of the test's own and a Keeper.
type desk struct {
	t      *testing.T
	url    string
	conn   *pgx.Conn
	keeper *flows.Keeper
	stored int
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, url: postgres.New(t)}
	d.conn = storetest.Connect(t, d.url)
	d.keeper = openKeeper(t, d.url, zerolog.Nop())
	return d
}

func openKeeper(t *testing.T, url string, log zerolog.Logger, known ...string) *flows.Keeper {
	t.Helper()
	k, err := flows.Open(url, known, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// run runs a Keeper until the test ends.
func run(t *testing.T, k *flows.Keeper) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { k.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

func (d *desk) exec(sql string, args ...any) {
	d.t.Helper()
	if _, err := d.conn.Exec(d.t.Context(), sql, args...); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
}

// store adds an answer of a flow, as the writer would.
func (d *desk) store(id string, answers ...string) {
	d.t.Helper()
	for _, a := range answers {
		d.stored++
		key := fmt.Sprintf("wamid.%06d", d.stored)
		text, err := json.Marshal(a)
		if err != nil {
			d.t.Fatal(err)
		}
		raw := fmt.Sprintf(`{"message":{"id":%q,"type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","response_json":%s}}}}`, key, text)
		d.exec(`INSERT INTO flow_responses (message_id, flow_token, token_kind, flow_id, response, response_status, source, raw, received_at)
			VALUES ($1, $2, CASE WHEN $2::text IS NULL THEN 'none' ELSE 'flow_id' END, $2, $3::jsonb, 'ok', 'kapso', $4, now())`,
			key, id, a, []byte(raw))
	}
}

// sync makes all views anew.
func (d *desk) sync() {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	if _, err := d.keeper.Sync(ctx); err != nil {
		d.t.Fatal(err)
	}
}

// columns returns a view's columns after the fixed ones, as "name type".
func (d *desk) columns(view string) []string {
	d.t.Helper()
	rows, _ := d.conn.Query(d.t.Context(), `SELECT attname || ' ' || replace(format_type(atttypid, atttypmod), 'timestamp with time zone', 'timestamptz')
		FROM pg_attribute WHERE attrelid = to_regclass('flows.' || quote_ident($1)) AND attnum > 7 ORDER BY attnum`, view)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		d.t.Fatal(err)
	}
	return list
}

func (d *desk) wantColumns(view string, want ...string) {
	d.t.Helper()
	if diff := cmp.Diff(want, d.columns(view)); diff != "" {
		d.t.Errorf("columns of %s: %s", view, diff)
	}
}

// text returns what sql selects, as Postgres's own text; "" for null.
func (d *desk) text(sql string, args ...any) string {
	d.t.Helper()
	var text *string
	if err := d.conn.QueryRow(d.t.Context(), "SELECT ("+sql+")::text", args...).Scan(&text); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
	if text == nil {
		return ""
	}
	return *text
}
