package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/simulate"
	"flowkeep/internal/spool"
	"flowkeep/internal/store"
	"flowkeep/internal/webhook"
)

// kapsoLimit is how long Kapso waits for an answer.
const kapsoLimit = 10 * time.Second

// awayLimit is the most that the 99th percentile of answers may take while the
// database is known to be away.
const awayLimit = 250 * time.Millisecond

// startBehindProxy runs an App that reaches its database through a proxy.
func startBehindProxy(t *testing.T) (*App, config, *proxy) {
	t.Helper()
	cfg, p := proxiedConfig(t)
	return startApp(t, cfg), cfg, p
}

// proxiedConfig is testConfig with a proxy before the database.
func proxiedConfig(t *testing.T) (config, *proxy) {
	t.Helper()
	cfg := testConfig(t)
	p := startProxy(t, cfg.DatabaseURL)
	cfg.DatabaseURL = p.url
	return cfg, p
}

// sendAway takes the database away from an App, and makes it notice.
func sendAway(t *testing.T, app *App, p *proxy) {
	t.Helper()
	p.setAway(true)
	deliver(t, app, 1, "spooled", flowItem("noticed the loss", ""))
	if !app.keeper.away.Load() {
		t.Fatal("the App did not notice that its database is away")
	}
}

// flowItem is a Flow response with an id and some text for its answers.
func flowItem(id, text string) string {
	answers, _ := json.Marshal(fmt.Sprintf(`{"flow_token":"order-1","text":%q}`, text))
	return fmt.Sprintf(`{"message":{"id":%q,"from":"15551234567","timestamp":"1704067200","type":"interactive",`+
		`"interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","body":"Sent","response_json":%s}}}}`, id, answers)
}

// deliver posts the items, as a batch if there are several. It fails unless the
// answer is 200 and counts so many as outcome.
func deliver(t *testing.T, app *App, want int, outcome string, items ...string) {
	t.Helper()
	status, answer := post(t, app.URL()+"/webhooks/kapso", sign(body(items)), body(items), nil)
	if status != http.StatusOK || answer[outcome] != float64(want) {
		t.Errorf("status %d %v, want %d %s", status, answer, want, outcome)
	}
}

func body(items []string) []byte {
	if len(items) == 1 {
		return []byte(items[0])
	}
	return []byte(`{"type":"whatsapp.message.received","batch":true,"data":[` + strings.Join(items, ",") + `]}`)
}

// tableHolds waits until flow_responses holds n rows and the spool none.
func tableHolds(t *testing.T, app *App, conn *pgx.Conn, n int) {
	t.Helper()
	eventually(t, 30*time.Second, fmt.Sprintf("the spool is drained and the table holds %d rows", n), func() bool {
		return app.spool.Stats().Records == 0 && query[int](t, conn, "SELECT count(*)::int FROM flow_responses") == n
	})
}

// lockTable keeps everybody from a table until release.
func lockTable(t testing.TB, url, table string) (release func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() { conn.Close(context.Background()) })
	t.Cleanup(release)
	return release
}

// Not parallel, since it is about time, and the best of some rounds, since the
// machine may have other work: the fault suite measures in earnest.
func TestKeep_KnownAwayAnswersAtOnce(t *testing.T) {
	app, cfg, p := startBehindProxy(t)
	sendAway(t, app, p)
	rows := 1
	for round := 1; ; round++ {
		report, err := simulate.Run(t.Context(), simulate.Config{
			URL: app.URL(), Secret: testSecret, Count: 100, Rate: 100, Concurrency: 16, Mix: mixOf(t, "responses"),
		})
		rows += 100
		if err != nil || report.Items.Spooled != 100 {
			t.Fatalf("%v\n%s", err, report)
		}
		if report.Latency.P99 <= awayLimit {
			break
		}
		if round == 10 {
			t.Fatalf("in %d rounds p99 was never under %v\n%s", round, awayLimit, report)
		}
	}
	p.setAway(false)
	tableHolds(t, app, connect(t, cfg.DatabaseURL), rows)
}

func TestKeep_ALockedTableCostsOnlyTime(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	conn := connect(t, cfg.DatabaseURL)
	release := lockTable(t, cfg.DatabaseURL, "flow_responses")
	report, err := simulate.Run(t.Context(), simulate.Config{
		URL: app.URL(), Secret: testSecret, Count: 200, Concurrency: 50, Mix: mixOf(t, "responses"), Timeout: kapsoLimit,
	})
	if err != nil || report.Items.Spooled != 200 {
		t.Errorf("while the table is locked: %v\n%s", err, report)
	}
	if n := query[int](t, conn, `SELECT count(*)::int FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = 'flowkeep'`); n > poolSessions {
		t.Errorf("%d backends", n)
	}
	eventually(t, 10*time.Second, "no backend waits", func() bool {
		return query[int](t, conn, `SELECT count(*)::int FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 0
	})
	release()
	tableHolds(t, app, conn, 200)
}

// newTestKeeper is a keeper whose writer has so many workers, with a session
// each, and holds queueRows at most.
func newTestKeeper(t *testing.T, url string, workers, queueRows int) *keeper {
	t.Helper()
	db, err := store.Open(url, int32(workers), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	w := store.NewWriter(db, workers, queueRows, zerolog.Nop())
	t.Cleanup(w.Close)
	s, err := spool.Open(filepath.Join(t.TempDir(), "spool"), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return newKeeper(w, s, db, flowparse.New(nil), zerolog.Nop())
}

func TestKeep_AFullQueueGoesToTheSpool(t *testing.T) {
	t.Parallel()
	url := postgres.New(t)
	k := newTestKeeper(t, url, 1, 1)
	release := lockTable(t, url, "flow_responses")
	keep := func(id string) (webhook.Kept, error) {
		d := k.parser.Parse(flowparse.Input{Body: []byte(flowItem(id, "")), ReceivedAt: time.Now()})
		return k.Keep(t.Context(), &d)
	}
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer release()
	for _, id := range []string{"under way", "queued"} {
		waiting.Go(func() {
			if kept, err := keep(id); err != nil || kept.Stored+kept.Spooled != 1 {
				t.Errorf("%s: %+v, %v", id, kept, err)
			}
		})
		if id == "queued" {
			eventually(t, time.Second, "one waits in the queue", func() bool { return k.writer.Queued() == 1 })
		} else {
			eventually(t, time.Second, "one is under way", func() bool { return blocked(t, url) == 1 })
		}
	}
	start := time.Now()
	kept, err := keep("one too many")
	if err != nil || kept != (webhook.Kept{Spooled: 1}) || time.Since(start) > time.Second || k.away.Load() {
		t.Errorf("%+v, %v after %v; taken for away: %v", kept, err, time.Since(start), k.away.Load())
	}
}

// blocked counts the sessions on url's database that wait for a lock.
func blocked(t *testing.T, url string) int {
	t.Helper()
	conn := connect(t, url)
	defer conn.Close(t.Context())
	return query[int](t, conn, "SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
}

func TestKeep_ALaterStartNeedsNoDatabase(t *testing.T) {
	t.Parallel()
	cfg, p := proxiedConfig(t)
	_, stop := runApp(t, cfg, zerolog.Nop())
	stop()
	migrateAllDown(t, cfg.DatabaseURL) // as if the binary were newer than the schema
	p.setAway(true)
	app, stop := runApp(t, cfg, zerolog.Nop())
	deliver(t, app, 1, "spooled", flowItem("a", ""))
	stop()
	app = startApp(t, cfg) // and again, with something in the spool
	deliver(t, app, 2, "spooled", flowItem("b", ""), flowItem("c", ""))
	p.setAway(false)
	eventually(t, 30*time.Second, "the spool is drained", func() bool { return app.spool.Stats().Records == 0 })
	tableHolds(t, app, connect(t, cfg.DatabaseURL), 3)
	deliver(t, app, 1, "duplicate", flowItem("a", ""))
}

func migrateAllDown(t *testing.T, url string) {
	t.Helper()
	for down := true; down; {
		var err error
		if down, err = store.MigrateDown(t.Context(), url); err != nil {
			t.Fatal(err)
		}
	}
}

// A database that came back and cannot be used is not one that is away: only a
// person can help, who must hear of it.
func TestKeep_ADatabaseThatCannotBePreparedIsTold(t *testing.T) {
	t.Parallel()
	cfg, p := proxiedConfig(t)
	_, stop := runApp(t, cfg, zerolog.Nop())
	stop()
	migrateAllDown(t, cfg.DatabaseURL)
	if _, err := connect(t, cfg.DatabaseURL).Exec(t.Context(), "CREATE VIEW flow_responses AS SELECT 1 AS n"); err != nil {
		t.Fatal(err)
	}
	p.setAway(true)
	var log output
	app, _ := runApp(t, cfg, zerolog.New(&log))
	p.setAway(false)
	eventually(t, 20*time.Second, "the log says so", func() bool { return strings.Contains(log.String(), "SQLSTATE 42P07") })
	deliver(t, app, 1, "spooled", flowItem("a", ""))
	if _, err := connect(t, cfg.DatabaseURL).Exec(t.Context(), "DROP VIEW flow_responses"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the spool is drained", func() bool { return app.spool.Stats().Records == 0 })
}

func TestKeep_AFirstStartNeedsItsDatabase(t *testing.T) {
	t.Parallel()
	cfg, p := proxiedConfig(t)
	p.setAway(true)
	wantFailedStart(t, cfg)
	p.setAway(false)
	_, stop := runApp(t, cfg, zerolog.Nop())
	stop()
	p.setAway(true)
	cfg.DatabaseURL = p.elsewhere() // a mistake, or a change
	wantFailedStart(t, cfg)
}

func wantFailedStart(t *testing.T, cfg config) {
	t.Helper()
	_, err := openApp(t.Context(), cfg, zerolog.Nop(), keepDurably)
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "the first start with a database needs it") {
		t.Errorf("a start without a database that was never met: %v", err)
	}
}

func TestKeep_LeftoversAreDrainedAtTheNextStart(t *testing.T) {
	t.Parallel()
	cfg, p := proxiedConfig(t)
	app, stop := runApp(t, cfg, zerolog.Nop())
	sendAway(t, app, p)
	deliver(t, app, 2, "spooled", flowItem("a", ""), flowItem("b", ""))
	stop()
	p.setAway(false)
	tableHolds(t, startApp(t, cfg), connect(t, cfg.DatabaseURL), 3)
}

func TestKeep_AFullSpoolIs503(t *testing.T) {
	t.Parallel()
	cfg, p := proxiedConfig(t)
	cfg.SpoolMaxBytes = 1 << 20
	app := startApp(t, cfg)
	sendAway(t, app, p)
	text := strings.Repeat("x", 60_000)
	accepted := 1
	for ; accepted < 100; accepted++ {
		b := []byte(flowItem(fmt.Sprint("large ", accepted), text))
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, app.URL()+"/webhooks/kapso", strings.NewReader(string(b)))
		req.Header.Set("X-Webhook-Signature", sign(b))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			continue
		}
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("status %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
		}
		break
	}
	if accepted < 5 || accepted == 100 {
		t.Fatalf("%d deliveries fit into 1 MiB", accepted)
	}
	if status, answer := ready(t, app); status != http.StatusServiceUnavailable || answer.Status != "unavailable" || answer.Checks.Spool.Status != "full" {
		t.Errorf("readyz: %d %+v", status, answer)
	}
	p.setAway(false)
	tableHolds(t, app, connect(t, cfg.DatabaseURL), accepted)
	deliver(t, app, 1, "stored", flowItem("there is room again", ""))
}

func TestKeep_PoisonInTheSpoolBlocksNothing(t *testing.T) {
	t.Parallel()
	app, cfg, p := startBehindProxy(t)
	conn := connect(t, cfg.DatabaseURL)
	refusePoison(t, conn)
	sendAway(t, app, p)
	deliver(t, app, 3, "spooled", flowItem("good 1", ""), flowItem("poison", ""), flowItem("good 2", ""))
	p.setAway(false)
	conn = connect(t, cfg.DatabaseURL)
	tableHolds(t, app, conn, 3) // with the one that noticed
	reason := query[string](t, conn, "SELECT reason FROM quarantine WHERE convert_from(body, 'UTF8') LIKE '%poison%'")
	if reason != string(store.ReasonRejectedByDatabase) {
		t.Error(reason)
	}
}

// refusePoison makes the table refuse the message of that id.
func refusePoison(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), "ALTER TABLE flow_responses ADD CHECK (message_id <> 'poison')"); err != nil {
		t.Fatal(err)
	}
}

func TestKeep_PartlyStoredPartlySpooledCountsOnce(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	conn := connect(t, cfg.DatabaseURL)
	refusePoison(t, conn)
	release := lockTable(t, cfg.DatabaseURL, "quarantine") // the poison is not safe, its neighbours are
	batch := body([]string{flowItem("good 1", ""), flowItem("poison", ""), flowItem("good 2", "")})
	status, answer := post(t, app.URL()+"/webhooks/kapso", sign(batch), batch, nil)
	if status != http.StatusOK || answer["stored"] != 2.0 || answer["spooled"] != 1.0 || answer["quarantined"] != 0.0 || answer["duplicate"] != 0.0 {
		t.Errorf("status %d %v", status, answer)
	}
	release()
	tableHolds(t, app, conn, 2)
	if n := query[int](t, conn, "SELECT count(*)::int FROM quarantine"); n != 1 {
		t.Errorf("%d records in quarantine", n)
	}
}

func TestKeep_APrivatePostgresThatIsKilledComesBack(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.DatabaseURL, cfg.DataDir = "", openDir(t)
	app := startApp(t, cfg)
	deliver(t, app, 1, "stored", flowItem("before", ""))
	if err := syscall.Kill(app.postgres.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		b := []byte(flowItem(fmt.Sprint("after ", i), ""))
		if status, answer := post(t, app.URL()+"/webhooks/kapso", sign(b), b, nil); status != http.StatusOK {
			t.Errorf("status %d %v", status, answer)
		}
	}
	eventually(t, 30*time.Second, "the private Postgres is back", func() bool {
		conn, err := pgx.Connect(t.Context(), app.url)
		if err == nil {
			conn.Close(t.Context())
		}
		return err == nil
	})
	tableHolds(t, app, connect(t, app.url), 21)
}

func TestKeep_OneDataFolderOneServer(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	startApp(t, cfg)
	_, err := openApp(t.Context(), cfg, zerolog.Nop(), keepDurably)
	if !errors.Is(err, spool.ErrInUse) || !strings.Contains(err.Error(), cfg.DataDir) {
		t.Errorf("a second server on one data folder: %v", err)
	}
}
