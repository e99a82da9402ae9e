package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/spool"
)

// flowItem is from this person.
const anasNumber = "15551234567"

// runErase runs the command on a data folder and returns the receipt.
func runErase(t *testing.T, cfg config, stdin string, args ...string) receipt {
	t.Helper()
	var out, errs bytes.Buffer
	p := program{
		environ: []string{"DATABASE_URL=" + cfg.DatabaseURL, "FLOWKEEP_DATA_DIR=" + cfg.DataDir},
		stdin:   strings.NewReader(stdin), stdout: &out, stderr: &errs,
	}
	if code := run(t.Context(), p, append([]string{"erase", "--json"}, args...)); code != 0 {
		t.Fatalf("%v: exit code %d\n%s", args, code, errs.String())
	}
	var r receipt
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if text := out.String() + errs.String(); strings.Contains(text, anasNumber) || strings.Contains(text, "hers") {
		t.Errorf("the receipt holds personal data: %s", text)
	}
	return r
}

// The person comes back by none of the ways in: the spool of another replica, a
// retry at the server that ran all the time, a replay. Later she may write again.
func TestErase_ComesBackByNoWay(t *testing.T) {
	t.Parallel()
	here := testConfig(t)
	p := startProxy(t, here.DatabaseURL)
	other := here
	other.DatabaseURL, other.DataDir = p.url, t.TempDir()
	replica, stop := runApp(t, other, zerolog.Nop())
	var log output
	app, _ := runApp(t, here, zerolog.New(&log).Level(zerolog.TraceLevel))
	deliver(t, app, 2, "stored", flowItem("hers-1", "x"), flowItem("hers-2", "x"))
	deliver(t, app, 1, "quarantined", `{"hers":"`+anasNumber+`"}`)
	deliver(t, app, 1, "stored", strings.ReplaceAll(flowItem("another", "call "+anasNumber), `"from":"`+anasNumber, `"from":"15557654321`))

	sendAway(t, replica, p) // and stores one of hers in its spool
	deliver(t, replica, 1, "spooled", flowItem("hers-3", "x"))
	stop()
	p.setAway(false)

	r := runErase(t, here, "", "--wa-id", "+1 (555) 123-4567")
	if r.Responses != 2 || r.Quarantine != 1 || len(r.Tombstones) != 1 || r.Cutoff == nil || r.Spool != spoolInUse {
		t.Errorf("%+v", r)
	}
	replica, _ = runApp(t, other, zerolog.Nop())
	conn := connect(t, here.DatabaseURL)
	tableHolds(t, replica, conn, 1)
	deliver(t, app, 2, "ignored", flowItem("hers-1", "x"), flowItem("hers-4", "x"))
	if _, err := conn.Exec(t.Context(), `INSERT INTO quarantine (received_at, source, reason, body) VALUES (now() - interval '1 day', 'kapso', 'unknown_shape', $1)`,
		[]byte(flowItem("hers-5", "x"))); err != nil {
		t.Fatal(err)
	}
	if text := mustRun(t, here.DatabaseURL, "quarantine", "replay", "--all"); !strings.Contains(text, "1 deleted, since they held what is erased\n") {
		t.Error(text)
	}
	if got := query[string](t, conn, "SELECT string_agg(message_id, ' ') FROM flow_responses"); got != "another" {
		t.Errorf("left: %s", got)
	}
	if text := log.String(); strings.Contains(text, anasNumber) || strings.Contains(text, "hers") {
		t.Errorf("the log holds personal data: %s", text)
	}
	if _, text := get(t, app.URL()+"/metrics"); !strings.Contains(text, "\nflowkeep_erased_items_total 2\n") {
		t.Error("the metric does not say 2")
	}
	anew := strings.ReplaceAll(flowItem("anew", "x"), `"timestamp":"1704067200"`, fmt.Sprintf(`"timestamp":"%d"`, time.Now().Add(time.Minute).Unix()))
	deliver(t, app, 1, "stored", anew)
}

func TestErase_TheSpoolOfThisFolder(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	dir := filepath.Join(cfg.DataDir, "spool")
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, body := range []string{
		flowItem("hers", "x"), `{"unreadable":"` + anasNumber + `"}`, flowItem("hers-too", "x"), `{"unreadable":1}`,
		strings.ReplaceAll(flowItem("another's", "call "+anasNumber), `"from":"`+anasNumber, `"from":"15557654321`),
	} {
		if err := s.Append(t.Context(), []spool.Record{{ReceivedAt: time.Now(), Source: "kapso", Body: []byte(body), IdempotencyKey: fmt.Sprint(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "spool.db.damaged-20260101T000000Z"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runErase(t, cfg, anasNumber+"\n", "--wa-id", "-")
	if r.Spool != spoolSearched || r.Spooled != 3 || r.SetAside != 1 || !strings.Contains(strings.Join(r.Left, "\n"), "damaged") {
		t.Errorf("%+v", r)
	}
	app := startApp(t, cfg)
	tableHolds(t, app, connect(t, cfg.DatabaseURL), 1)
	if n := query[int](t, connect(t, cfg.DatabaseURL), "SELECT count(*)::int FROM quarantine"); n != 1 {
		t.Errorf("%d records in quarantine", n)
	}
}

// The ids of messages hold phone numbers: none is left anywhere in the database.
func TestErase_NothingIsLeftInTheDatabase(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.FlowIDs = []string{"1197715005513101"}
	app := startApp(t, cfg)
	wamid := "wamid." + base64.StdEncoding.EncodeToString([]byte("\x1c\x18\x0b"+anasNumber+"\x15\x02\x00"))
	deliver(t, app, 1, "stored", strings.ReplaceAll(flowItem(wamid, "x"), "order-1", cfg.FlowIDs[0]))
	conn := connect(t, cfg.DatabaseURL)
	eventually(t, time.Minute, "the catalog has read the answer", func() bool {
		return query[bool](t, conn, "SELECT EXISTS (SELECT FROM flow_catalog WHERE read_id <> '')")
	})
	if r := runErase(t, cfg, wamid, "--message-id", "-"); r.Responses != 1 || r.Cutoff != nil {
		t.Errorf("%+v", r)
	}
	for _, table := range []string{"flow_responses", "quarantine", "flow_catalog", "erasures", "erasure_key"} {
		if text := query[string](t, conn, "SELECT coalesce(string_agg(t::text, ' '), '') FROM "+table+" AS t"); strings.Contains(text, wamid) || strings.Contains(text, anasNumber) {
			t.Errorf("%s: %s", table, text)
		}
	}
}

func TestErase_Calls(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	for _, args := range [][]string{
		{}, {"--wa-id", "1555123"}, {"--message-id", "-"}, {"--again"},
	} {
		r := args
		if len(args) == 0 {
			r = []string{"--user-id", "US.nobody"}
		}
		got := runErase(t, cfg, "wamid.x", r...) // nothing is found: the tombstone stands
		if got.Responses != 0 || (len(got.Tombstones) != 1) != (r[0] == "--again") || got.Spool == spoolInUse {
			t.Errorf("%v: %+v", r, got)
		}
	}
	if n := query[int](t, connect(t, cfg.DatabaseURL), "SELECT count(*)::int FROM erasures"); n != 3 {
		t.Errorf("%d tombstones", n)
	}
	for _, args := range [][]string{
		{},
		{"--wa-id", "1555123", "--user-id", "x"},
		{"--again", "--user-id", "x"},
		{"--wa-id", "Ana"},
		{"--wa-id", "12"},
		{"--user-id", "\xff"},
		{"--message-id", strings.Repeat("x", 513)},
		{"--wa-id", "1555123", "more"},
		{"--nonsense"},
	} {
		if code, stdout, stderr := runCommand(t, cfg.DatabaseURL, append([]string{"erase"}, args...)...); code != 2 || !strings.Contains(stderr, "usage") {
			t.Errorf("%q: code %d\n%s\n%s", args, code, stdout, stderr)
		}
	}
	text := mustRun(t, cfg.DatabaseURL, "erase", "--wa-id", "1555123")
	if !regexp.MustCompile(`(?m)^responses deleted: +0\n.*\n.*\n.*\ntombstones: +1, for what was sent or received until 20.*\nerasure ids: +\d+\n`).MatchString(text) {
		t.Error(text)
	}
	away := testConfig(t)
	away.DatabaseURL = "postgres://u@127.0.0.1:1/none?connect_timeout=1"
	if code, _, stderr := runCommand(t, away.DatabaseURL, "erase", "--wa-id", "1555123"); code != 1 || !strings.Contains(stderr, "database unavailable") {
		t.Errorf("away: code %d %s", code, stderr)
	}
}

// Once rows are deleted the receipt comes, whatever fails after, and says what to do.
func TestErase_TheReceiptIsNeverLost(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app, stop := runApp(t, cfg, zerolog.Nop())
	deliver(t, app, 1, "stored", flowItem("hers", "x"))
	stop()
	// The catalog cannot be written, and a file is where the spool's folder was.
	conn := connect(t, cfg.DatabaseURL)
	if _, err := conn.Exec(t.Context(), `ALTER TABLE flow_catalog RENAME TO hidden`); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cfg.DataDir, "spool")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	p := program{
		environ: []string{"DATABASE_URL=" + cfg.DatabaseURL, "FLOWKEEP_DATA_DIR=" + cfg.DataDir},
		stdin:   strings.NewReader(""), stdout: &out, stderr: &errs,
	}
	code := run(t.Context(), p, []string{"erase", "--json", "--wa-id", anasNumber})
	var r receipt
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("no receipt: %v\n%s%s", err, out.String(), errs.String())
	}
	left := strings.Join(r.Left, "\n")
	if code != 1 || r.Responses != 1 || len(r.Tombstones) != 1 || r.Spool != spoolFailed ||
		!strings.Contains(left, "marks in flow_catalog") || !strings.Contains(left, "the spool of this data folder") {
		t.Errorf("code %d, %+v", code, r)
	}
	if !strings.Contains(errs.String(), "42P01") || !strings.Contains(errs.String(), "spool") || strings.Contains(errs.String(), anasNumber) {
		t.Errorf("stderr: %s", errs.String())
	}
}

// As an operator does it: beside a server that runs with a Postgres of its own.
func TestErase_BesideARunningServer(t *testing.T) {
	t.Parallel()
	environ := []string{"FLOWKEEP_DATA_DIR=" + openDir(t), "KAPSO_WEBHOOK_SECRET=" + testSecret, "FLOWKEEP_LOG_LEVEL=trace"}
	server := startServer(t, environ...)
	item := []byte(flowItem("hers", "x"))
	for _, want := range []string{"stored", "ignored"} {
		if status, answer := post(t, server.url+"/webhooks/kapso", sign(item), item, nil); status != http.StatusOK || answer[want] != 1.0 {
			t.Errorf("%d %v, want %s", status, answer, want)
		}
		p := startProcess(t, environ, "erase", "--wa-id", anasNumber)
		if err := p.wait(time.Minute); err != nil || strings.Contains(p.out.String(), anasNumber) {
			t.Errorf("%v\n%s", err, p.out.tail())
		}
	}
	if err := server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = server.wait(time.Minute)
	if text := server.out.String(); strings.Contains(text, anasNumber) || strings.Contains(text, "hers") {
		t.Errorf("the log holds personal data: %s", text)
	}
}

func TestRetention_OfARunningServer(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	k := newTestKeeper(t, cfg.DatabaseURL, 1, 10)
	for _, id := range []string{"old", "young"} {
		d := k.parser.Parse(flowparse.Input{Body: []byte(flowItem(id, "")), ReceivedAt: time.Now()})
		if _, err := k.Keep(t.Context(), &d); err != nil {
			t.Fatal(err)
		}
	}
	conn := connect(t, cfg.DatabaseURL)
	if _, err := conn.Exec(t.Context(), "UPDATE flow_responses SET stored_at = now() - interval '100 days' WHERE message_id = 'old'"); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Retention.UnmarshalText([]byte("90d")); err != nil {
		t.Fatal(err)
	}
	var log output
	app, _ := runApp(t, cfg, zerolog.New(&log))
	eventually(t, time.Minute, "the log tells", func() bool {
		return strings.Contains(log.String(), `"responses":1,"quarantined":0,"sends":0,"message":"deleted what was older than it may be kept"`)
	})
	if got := query[string](t, conn, "SELECT string_agg(message_id, ' ') FROM flow_responses"); got != "young" {
		t.Errorf("left: %s", got)
	}
	if _, text := get(t, app.URL()+"/metrics"); !strings.Contains(text, `flowkeep_retention_deleted_total{table="flow_responses"} 1`) {
		t.Error("the metric does not say 1")
	}
}

func TestFlows_Retain(t *testing.T) {
	t.Parallel()
	url := postgres.New(t)
	conn := connect(t, url)
	if _, err := conn.Exec(t.Context(), "INSERT INTO flow_catalog (id) VALUES ('123456789012345')"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ say, stored, listed string }{
		{"90d", "2160:00:00", "123456789012345  0 answers, kept for 90d\n"},
		{"36h", "36:00:00", "0 answers, kept for 36h0m0s\n"},
		{"forever", "00:00:00", "0 answers, kept for ever\n"},
		{"default", "", "0 answers\n"},
	} {
		mustRun(t, url, "flows", "retain", "123456789012345", c.say)
		if got := query[string](t, conn, "SELECT coalesce(retention::text, '') FROM flow_catalog"); got != c.stored {
			t.Errorf("%s: %s", c.say, got)
		}
		if text := mustRun(t, url, "flows"); !strings.Contains(text, c.listed) {
			t.Errorf("%s: %s", c.say, text)
		}
	}
	for _, say := range []string{"59m", "-1d", "1.5d", "d", "0", "0d", "999999999999d", "never", ""} {
		if code, _, stderr := runCommand(t, url, "flows", "retain", "123456789012345", say); code != 2 {
			t.Errorf("%q: code %d %s", say, code, stderr)
		}
	}
	if code, _, stderr := runCommand(t, url, "flows", "retain", "none", "1d"); code != 1 || !strings.Contains(stderr, "there is no flow") {
		t.Errorf("code %d %s", code, stderr)
	}
	for value, ok := range map[string]bool{"90d": true, "8760h": true, "": true, "30m": false, "soon": false, "-90d": false} {
		if _, err := readConfig([]string{"HOME=/h", "FLOWKEEP_RETENTION=" + value}); (err == nil) != ok {
			t.Errorf("FLOWKEEP_RETENTION=%s: %v", value, err)
		}
	}
}
