package store_test

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/store"
	"flowkeep/internal/store/storetest"
)

func TestIdentity(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ url, want string }{
		{"postgres://u:very-secret@db.example/answers", "db.example:5432/answers"},
		{"postgres://another:password@db.example:5432/answers?sslmode=require", "db.example:5432/answers"},
		{"postgres://u@a:1,b:2/answers?target_session_attrs=read-write", "a:1,b:2/answers"},
		{"host=/run/postgresql port=5433 user=u dbname=answers", "/run/postgresql:5433/answers"},
	} {
		if got, err := store.Identity(c.url); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.url, got, err, c.want)
		}
	}
	if _, err := store.Identity("postgres://u:very-secret@h:port/d"); err == nil || strings.Contains(err.Error(), "very-secret") {
		t.Errorf("a string that cannot be read: %v", err)
	}
}

// withStandby is url with a second host, where nothing listens.
func withStandby(t *testing.T, address string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(cfg.User, cfg.Password), Path: "/" + cfg.Database}
	u.RawQuery = url.Values{
		"host": {cfg.Host + ",127.0.0.1"}, "port": {strconv.Itoa(int(cfg.Port)) + ",1"},
		"sslmode": {"disable"}, "target_session_attrs": {"read-write"},
	}.Encode()
	return u.String()
}

func TestDB_Doubts(t *testing.T) {
	t.Parallel()
	address := postgres.New(t)
	conn := storetest.Connect(t, address)
	setting := func(name string) string { return query[string](t, conn, "SELECT current_setting($1)", name) }
	for _, c := range []struct {
		name, url, says string
		want            bool
	}{
		{"fsync", address, "fsync is off", setting("fsync") == "off"}, // as it is, unless TEST_DATABASE_URL is set
		{"one host", address, "asynchronous", false},
		{"two hosts", withStandby(t, address), "asynchronous", setting("synchronous_standby_names") == ""},
	} {
		doubts, err := open(t, c.url).Doubts(t.Context())
		if err != nil || strings.Contains(strings.Join(doubts, "\n"), c.says) != c.want {
			t.Errorf("%s: %q, %v", c.name, doubts, err)
		}
	}
}

func TestDB_ProbeNoticesMoreThanAPing(t *testing.T) {
	t.Parallel()
	address := postgres.New(t)
	db := open(t, address)
	if err := db.Probe(t.Context()); err != nil {
		t.Errorf("when all is well: %v", err)
	}
	release := lockTable(t, storetest.Connect(t, address))
	if err := db.Probe(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("of a locked table: %v", err)
	}
	release()
	if _, err := storetest.Connect(t, address).Exec(t.Context(), "ALTER DATABASE "+pgx.Identifier{databaseOf(t, address)}.Sanitize()+" SET default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	db.Reset()
	if err := db.Probe(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("of a read-only database: %v", err)
	}
}

func databaseOf(t *testing.T, address string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Database
}

// warnSQL makes an insert give the warning that Postgres gives when it stops
// waiting for a standby: of the same class, and the row is committed.
const warnSQL = `
CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	RAISE WARNING 'canceling wait for synchronous replication due to user request';
	RETURN NEW;
END $$;
CREATE TRIGGER warn BEFORE INSERT ON flow_responses FOR EACH ROW EXECUTE FUNCTION warn()`

func TestWriter_ACommitThatIsNotConfirmedIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"notice", "error"} { // a role may have any default
		w, address := newWriter(t, 1, 100)
		conn := storetest.Connect(t, address)
		database := pgx.Identifier{databaseOf(t, address)}.Sanitize()
		if _, err := conn.Exec(t.Context(), warnSQL+"; ALTER DATABASE "+database+" SET client_min_messages = "+level); err != nil {
			t.Fatal(err)
		}
		results, err := w.Put(t.Context(), delivery(response("a"), response("b")))
		if !errors.Is(err, store.ErrUnavailable) || results[0] != store.Unknown || results[1] != store.Unknown {
			t.Errorf("client_min_messages %s: %v, %v", level, results, err)
		}
		if _, err := conn.Exec(t.Context(), "DROP TRIGGER warn ON flow_responses"); err != nil {
			t.Fatal(err)
		}
		if results := put(t, w, delivery(response("a"))); results[0] != store.Duplicate {
			t.Errorf("client_min_messages %s: the next try: %v", level, results)
		}
	}
}
