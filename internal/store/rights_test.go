package store_test

import (
	"context"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store"
	"flowkeep/internal/store/flows"
	"flowkeep/internal/store/read"
	"flowkeep/internal/store/storetest"
)

// login makes a role of the test's own, gives it what the statements grant to
// flowkeep_server in the database of conn, and returns the database's address
// for it.
func login(t *testing.T, conn *pgx.Conn, grants string) string {
	t.Helper()
	admin, err := pgx.Connect(t.Context(), administrator(t, conn))
	if err != nil {
		t.Fatal(err)
	}
	name := "server_" + conn.Config().Database
	exec := func(ctx context.Context, conn *pgx.Conn, sql string) {
		if _, err := conn.Exec(ctx, strings.ReplaceAll(sql, "flowkeep_server", name)); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	t.Cleanup(func() {
		ctx := context.Background()
		defer admin.Close(ctx)
		storetest.Eventually(t, "the role's sessions are gone", func() bool {
			var gone bool
			err := admin.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = $1)", name).Scan(&gone)
			return err == nil && gone
		})
		exec(ctx, conn, "DROP OWNED BY flowkeep_server")
		exec(ctx, admin, "DROP ROLE flowkeep_server")
	})
	// The owner is to be able to end the role's sessions when the database is dropped.
	exec(t.Context(), admin, "CREATE ROLE flowkeep_server LOGIN PASSWORD 'for tests'; GRANT flowkeep_server TO "+conn.Config().User)
	exec(t.Context(), conn, grants)
	return withUser(t, conn.Config().ConnString(), "", url.UserPassword(name, "for tests"))
}

// administrator returns the address of a superuser in the database postgres,
// where no test's database is in use.
func administrator(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	if query[bool](t, conn, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") {
		return withUser(t, conn.Config().ConnString(), "/postgres", nil)
	}
	return withUser(t, conn.Config().ConnString(), "/postgres", url.User("postgres"))
}

// withUser returns the address with another path and user, unless they are empty.
func withUser(t *testing.T, address, path string, user *url.Userinfo) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if path != "" {
		u.Path = path
	}
	if user != nil {
		u.User = user
	}
	return u.String()
}

// documentedGrants returns the statements that docs/security.md gives for a
// server that owns nothing.
func documentedGrants(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sql\n(GRANT [^`]*flowkeep_server[^`]*)```").FindSubmatch(page)
	if block == nil {
		t.Fatal("docs/security.md shows no GRANT to flowkeep_server")
	}
	return string(block[1])
}

// goesOnStoring does with the address what a server does in Postgres.
func goesOnStoring(t *testing.T, address string) {
	t.Helper()
	if err := store.MigrateUp(t.Context(), address); err != nil {
		t.Errorf("at the start: %v", err)
	}
	db := open(t, address)
	views, err := flows.Open(address, nil, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(views.Close)
	if err := db.Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
	if err := db.Probe(t.Context()); err != nil {
		t.Errorf("probe: %v", err)
	}
	w := store.NewWriter(db, 1, 100, zerolog.Nop())
	t.Cleanup(w.Close)
	w.LimitQuarantine(store.QuarantineLimit{Records: 10, Bytes: 1 << 20})
	d := statuses(status("wamid.1", flowparse.StateSent, 0), status("wamid.1", flowparse.StateRead, 1))
	d.Statuses[0].FlowID = "1197715005513101"
	d.Responses = []flowparse.Response{response("a"), response("a"), poison("b")}
	got := put(t, w, d)
	want := []store.Result{store.Stored, store.Duplicate, store.Quarantined, store.Noted, store.Noted}
	if len(got) != len(want) {
		t.Fatalf("results %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("results %v, want %v", got, want)
			break
		}
	}
	d.Responses[0].UserID = "US.1"
	if err := views.FillNulls(t.Context(), d.Responses[:1]); err != nil {
		t.Errorf("fill nulls: %v", err)
	}
	p, due, err := db.ClaimBackfill(t.Context(), []string{"1"}, time.Hour)
	if err != nil || !due {
		t.Errorf("claim a backfill: %v, %v", due, err)
	}
	if err := db.NoteBackfill(t.Context(), &p, 0); err != nil {
		t.Errorf("note a backfill: %v", err)
	}
}

// makeViews makes the typed views, as the owner.
func makeViews(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	k, err := flows.Open(conn.Config().ConnString(), nil, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if _, err := k.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// readsForTheAPI hands out what the API does.
func readsForTheAPI(t *testing.T, address string) {
	t.Helper()
	r, err := read.Open(address, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if _, err := r.One(t.Context(), "a"); err != nil {
		t.Errorf("a response: %v", err)
	}
	if list, _, err := r.Flows(t.Context(), ""); err != nil || len(list) != 1 {
		t.Errorf("%d flows, %v", len(list), err)
	}
	csv, ndjson := read.Export{Flow: "1197715005513101"}, read.Export{Flow: "1197715005513101"}
	if err := r.CSV(t.Context(), io.Discard, &csv); err != nil || csv.Rows() != 2 {
		t.Errorf("CSV: %d rows, %v", csv.Rows(), err)
	}
	if err := r.NDJSON(t.Context(), io.Discard, &ndjson); err != nil || ndjson.Rows() != 2 {
		t.Errorf("NDJSON: %d rows, %v", ndjson.Rows(), err)
	}
}

// What docs/security.md grants is enough for a server that owns nothing.
func TestRights_AsDocumented(t *testing.T) {
	t.Parallel()
	conn := storetest.Connect(t, postgres.New(t))
	w := store.NewWriter(open(t, conn.Config().ConnString()), 1, 100, zerolog.Nop())
	t.Cleanup(w.Close)
	put(t, w, delivery(response("before")))
	makeViews(t, conn)
	address := login(t, conn, documentedGrants(t))
	goesOnStoring(t, address)
	readsForTheAPI(t, address)
	if got := query[string](t, conn, "SELECT string_agg(wamid || ' ' || status, ', ') FROM flow_sends"); got != "wamid.1 read" {
		t.Errorf("the register holds %s", got)
	}
	if _, err := conn.Exec(t.Context(), `UPDATE flow_responses SET stored_at = now() - interval '9 days';
		UPDATE flow_sends SET sent_at = now() - interval '9 days'; UPDATE quarantine SET received_at = now() - interval '9 days'`); err != nil {
		t.Fatal(err)
	}
	done, err := store.NewRetention(open(t, address), 24*time.Hour, zerolog.Nop()).Round(t.Context())
	if want := (store.Deleted{Responses: 2, Sends: 1, Quarantined: 1}); err != nil || done != want {
		t.Errorf("retention deleted %+v, %v", done, err)
	}
}

// A role with the rights that were enough for an old version goes on storing
// once the owner has migrated.
func TestRights_OfAnOldRole(t *testing.T) {
	t.Parallel()
	owner := postgres.New(t)
	conn := storetest.Connect(t, owner)
	for query[bool](t, conn, "SELECT to_regclass('erasures') IS NOT NULL") {
		if _, err := store.MigrateDown(t.Context(), owner); err != nil {
			t.Fatal(err)
		}
	}
	address := login(t, conn, `
		GRANT SELECT, INSERT, UPDATE ON flow_responses, quarantine TO flowkeep_server;
		GRANT SELECT ON goose_db_version, flow_catalog TO flowkeep_server`)
	if err := store.MigrateUp(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	goesOnStoring(t, address)
	const may = "SELECT has_table_privilege($1, 'flow_sends', 'DELETE')"
	if query[bool](t, conn, may, "server_"+conn.Config().Database) {
		t.Error("who may not delete answers may delete sends")
	}
}
