package store_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/store"
	"flowkeep/internal/store/storetest"
)

func TestDB_ADatabaseThatIsAwayIsUnavailable(t *testing.T) {
	t.Parallel()
	db := open(t, "postgres://nobody:very-secret@127.0.0.1:1/none?connect_timeout=1")
	err := db.Check(t.Context())
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnfit) {
		t.Errorf("%v", err)
	}
	if strings.Contains(err.Error(), "very-secret") {
		t.Errorf("the password is in the error: %v", err)
	}
}

func TestDB_ABadURLKeepsItsPassword(t *testing.T) {
	t.Parallel()
	_, err := store.Open("postgres://u:very-secret@host:notaport/db", 4, zerolog.Nop())
	if err == nil || strings.Contains(err.Error(), "very-secret") {
		t.Errorf("%v", err)
	}
}

func TestDB_OnlyUTF8(t *testing.T) {
	t.Parallel()
	err := open(t, postgres.NewLatin(t)).Check(t.Context())
	if !errors.Is(err, store.ErrUnfit) || !strings.Contains(err.Error(), "UTF8") {
		t.Errorf("%v", err)
	}
}

func TestDB_RoleDefaultsCannotVoidThePromise(t *testing.T) {
	t.Parallel()
	address := postgres.New(t)
	conn := storetest.Connect(t, address)
	name := query[string](t, conn, "SELECT current_database()")
	for _, setting := range []string{"synchronous_commit = off", "lock_timeout = 0", "statement_timeout = 0"} {
		if _, err := conn.Exec(t.Context(), "ALTER DATABASE "+name+" SET "+setting); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(t, address).Check(t.Context()); err != nil {
		t.Errorf("%v", err)
	}
}

// A session as a pooler hands it out that drops our settings without a word.
func TestDB_DroppedSettingsAreNoticed(t *testing.T) {
	t.Parallel()
	address := postgres.New(t)
	conn := storetest.Connect(t, address)
	if _, err := conn.Exec(t.Context(), "SET synchronous_commit = off"); err != nil {
		t.Fatal(err)
	}
	if err := store.CheckSession(t.Context(), conn); !errors.Is(err, store.ErrUnfit) {
		t.Errorf("synchronous_commit off: %v", err)
	}
	if _, err := conn.Exec(t.Context(), "SET synchronous_commit = on; SET statement_timeout = 0"); err != nil {
		t.Fatal(err)
	}
	if err := store.CheckSession(t.Context(), conn); !errors.Is(err, store.ErrUnfit) {
		t.Errorf("no statement_timeout: %v", err)
	}
}

func TestMigrate_ManyServersAtOnce(t *testing.T) {
	t.Parallel()
	address := postgres.NewEmpty(t)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if err := store.MigrateUp(t.Context(), address); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	twice := query[int](t, storetest.Connect(t, address), `SELECT count(*)::int FROM
		(SELECT FROM goose_db_version WHERE version_id > 0 GROUP BY version_id HAVING count(*) > 1) AS t`)
	if twice != 0 {
		t.Errorf("%d migrations were applied twice", twice)
	}
}

func TestMigrate_UpDownUp(t *testing.T) {
	t.Parallel()
	address := postgres.NewEmpty(t)
	if err := store.MigrateUp(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	all, err := store.Migrations(t.Context(), address)
	if err != nil || len(all) == 0 {
		t.Fatalf("%v, %v", all, err)
	}
	for range all {
		if done, err := store.MigrateDown(t.Context(), address); !done || err != nil {
			t.Fatalf("down: %v, %v", done, err)
		}
	}
	if done, err := store.MigrateDown(t.Context(), address); done || err != nil {
		t.Errorf("down from nothing: %v, %v", done, err)
	}
	conn := storetest.Connect(t, address)
	if n := query[int](t, conn, "SELECT count(*)::int FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND tablename NOT LIKE 'goose%'"); n != 0 {
		t.Errorf("%d tables are left", n)
	}
	if err := store.MigrateUp(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	all, err = store.Migrations(t.Context(), address)
	for _, m := range all {
		if m.AppliedAt.IsZero() || time.Since(m.AppliedAt) > time.Hour {
			t.Errorf("%s applied at %v", m.Name, m.AppliedAt)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func TestMigrate_ADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	err := store.MigrateUp(t.Context(), "postgres://u@127.0.0.1:1/none?connect_timeout=1")
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

func TestSchema_ExplainsItself(t *testing.T) {
	t.Parallel()
	rows, err := storetest.Connect(t, postgres.New(t)).Query(t.Context(), `
		SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relkind IN ('r', 'v') AND c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE 'goose%'
			AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)`)
	if err != nil {
		t.Fatal(err)
	}
	silent, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(silent) > 0 {
		t.Errorf("without a comment: %s", strings.Join(silent, ", "))
	}
}

// The documented questions, newest first, are answered from an index.
func TestSchema_Indexes(t *testing.T) {
	t.Parallel()
	conn := storetest.Connect(t, postgres.New(t))
	if _, err := conn.Exec(t.Context(), `
		INSERT INTO flow_responses (message_id, flow_token, token_kind, flow_id, response, response_status, wa_id, user_id, source, raw, received_at)
		SELECT i::text, 'order-' || i, 'custom', (i % 50)::text, '{}', 'ok', (i % 1000)::text, (i % 1000)::text, 'kapso', '', now()
		FROM generate_series(1, 20000) AS i;
		ANALYZE flow_responses`); err != nil {
		t.Fatal(err)
	}
	for index, where := range map[string]string{
		"flow_responses_flow_idx":  "flow_id = '7'",
		"flow_responses_token_idx": "token_kind = 'custom' AND left(flow_token, 200) = 'order-77'",
		"flow_responses_wa_idx":    "wa_id = '77'",
		"flow_responses_user_idx":  "user_id = '77'",
	} {
		wantIndex(t, conn, index, "SELECT * FROM flow_responses WHERE "+where+" ORDER BY stored_at DESC LIMIT 5")
	}
}

// wantIndex fails unless a query goes by an index, in its order.
func wantIndex(t *testing.T, conn *pgx.Conn, index, sql string) {
	t.Helper()
	rows, err := conn.Query(t.Context(), "EXPLAIN "+sql)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(plan, "\n"); !strings.Contains(text, index) || strings.Contains(text, "Sort") {
		t.Errorf("%s is not used in order for %s:\n%s", index, sql, text)
	}
}
