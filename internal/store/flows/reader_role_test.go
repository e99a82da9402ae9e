package flows_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"flowkeep/internal/store"
	"flowkeep/internal/store/storetest"
)

// administrator returns the address of the test's database for somebody who may
// make roles: ourselves, or the superuser of a Postgres that trusts its socket.
func administrator(t *testing.T, d *desk) string {
	t.Helper()
	if d.text(`SELECT rolsuper FROM pg_roles WHERE rolname = current_user`) == "true" {
		return d.url
	}
	return withUser(t, d.url, url.User("postgres"))
}

func withUser(t *testing.T, address string, user *url.Userinfo) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = user
	return u.String()
}

// reader returns a session of a login that a README-following administrator
// made.
func reader(t *testing.T, d *desk) *pgx.Conn {
	t.Helper()
	// Another database's session: the test's is dropped by somebody who may not
	// end a superuser's.
	admin, err := pgx.Connect(t.Context(), strings.Replace(administrator(t, d), d.text(`SELECT current_database()`), "postgres", 1))
	if err != nil {
		t.Fatal(err)
	}
	name := "bi_" + d.text(`SELECT current_database()`)
	for _, sql := range []string{"CREATE ROLE %s LOGIN PASSWORD 'for tests'", "GRANT " + store.ReaderRole + " TO %s"} {
		if _, err := admin.Exec(t.Context(), fmt.Sprintf(sql, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { // after that of the reader's session, which is made below
		ctx := context.Background()
		defer admin.Close(ctx)
		storetest.Eventually(t, "the reader's sessions are gone", func() bool {
			var gone bool
			err := admin.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = $1)", name).Scan(&gone)
			return err == nil && gone
		})
		if _, err := admin.Exec(ctx, "DROP ROLE "+name); err != nil {
			t.Errorf("drop the reader: %v", err)
		}
	})
	return storetest.Connect(t, withUser(t, d.url, url.UserPassword(name, "for tests")))
}

// makeReader makes the role as an administrator would, and lets the owner grant.
func makeReader(t *testing.T, d *desk) {
	t.Helper()
	if err := store.GrantReader(t.Context(), administrator(t, d)); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "the administrator is gone", func() bool {
		return d.text(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename <> current_user`) == "0"
	})
	if err := store.GrantReader(t.Context(), d.url); err != nil {
		t.Fatal(err)
	}
}

func TestReaderRole_ReadsTheAnswersAndNothingElse(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.store(flowID, `{"when":"2026-01-01T10:00:00Z","n":1,"yes":true,"list":["a"]}`)
	d.sync()
	makeReader(t, d)
	conn := reader(t, d)
	d.store("22", `{"later":1}`)
	d.store(flowID, `{"when":"x","extra":"2"}`)
	d.sync() // a view that is made afterwards, one that is changed
	for _, sql := range []string{
		`SELECT "when", n, yes, list, extra FROM flows.flow_1197715005513101`,
		`SELECT later FROM flows.flow_22`,
		`SELECT count(*) FROM flows.unlinked`,
		`SELECT flows.as_date('"2026-01-01"')`,
		`SELECT message_id, flow_token, response, wa_id, stored_at, idempotency_key FROM flow_responses`,
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	for _, sql := range []string{
		`SELECT raw FROM flow_responses`, `SELECT * FROM flow_responses`, `SELECT id FROM quarantine`, `SELECT count(*) FROM quarantine`,
		`DELETE FROM flow_responses`, `UPDATE flow_responses SET wa_id = ''`, `TRUNCATE flow_responses`, `DROP VIEW flows.flow_22`,
		`UPDATE flows.flow_22 SET wa_id = ''`, `DELETE FROM flows.flow_22`, `CREATE TABLE flows.mine ()`, `DELETE FROM flow_catalog`,
		`INSERT INTO flow_responses (message_id) VALUES ('x')`,
	} {
		_, err := conn.Exec(t.Context(), sql)
		if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "42501" {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// A column that a later version adds can be read after its migration.
func TestReaderRole_FollowsNewColumns(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	makeReader(t, d)
	conn := reader(t, d)
	d.exec(`ALTER TABLE flow_responses ADD COLUMN mood text`)
	if _, err := conn.Exec(t.Context(), `SELECT mood FROM flow_responses`); err == nil {
		t.Error("it can be read before")
	}
	if err := store.GrantReader(t.Context(), d.url); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `SELECT mood FROM flow_responses`); err != nil {
		t.Error(err)
	}
	before := d.text(`SELECT string_agg(xmin::text, ' ' ORDER BY oid) FROM pg_class WHERE relname = 'flow_responses' OR relnamespace = 'flows'::regnamespace`)
	if err := store.GrantReader(t.Context(), d.url); err != nil {
		t.Fatal(err)
	}
	if after := d.text(`SELECT string_agg(xmin::text, ' ' ORDER BY oid) FROM pg_class WHERE relname = 'flow_responses' OR relnamespace = 'flows'::regnamespace`); after != before {
		t.Error("it writes although nothing is missing")
	}
}

// Servers of several databases start at once, while views are made.
func TestReaderRole_ManyAtOnce(t *testing.T) {
	t.Parallel()
	first := newDesk(t)
	first.store(flowID, `{"a":1}`)
	desks := []*desk{first, newDesk(t), newDesk(t)}
	makeReader(t, first)
	first.exec(`REVOKE SELECT ON flows.unlinked FROM ` + store.ReaderRole)
	var wait sync.WaitGroup
	for range 8 {
		for _, d := range desks {
			wait.Go(func() {
				if err := store.GrantReader(t.Context(), d.url); err != nil {
					t.Error(err)
				}
			})
		}
	}
	first.sync()
	wait.Wait()
	for _, d := range desks {
		if got := d.text(`SELECT bool_and(has_table_privilege('` + store.ReaderRole + `', oid, 'SELECT')) FROM pg_class WHERE relnamespace = 'flows'::regnamespace AND relkind = 'v'`); got != "true" {
			t.Error("a view cannot be read")
		}
	}
}

// Who owns nothing and may make no role is told what to do, and nothing breaks.
func TestReaderRole_WithoutTheRight(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	makeReader(t, d)
	d.exec(`REVOKE ALL ON flows.unlinked FROM ` + store.ReaderRole)
	conn := reader(t, d)
	err := store.GrantReader(t.Context(), conn.Config().ConnString())
	if !errors.Is(err, store.ErrNoReader) || !strings.Contains(err.Error(), "CREATE ROLE") {
		t.Error(err)
	}
}
