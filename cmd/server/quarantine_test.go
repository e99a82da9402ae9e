package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store"
)

// runCommand runs one command in this process, with a database.
func runCommand(t *testing.T, url string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := program{
		environ: []string{"DATABASE_URL=" + url, "FLOWKEEP_DATA_DIR=" + t.TempDir(), "FLOWKEEP_FLOW_IDS=77"},
		stdout:  &out, stderr: &errs,
	}
	code = run(t.Context(), p, args)
	return code, out.String(), errs.String()
}

// mustRun is runCommand of a command that succeeds.
func mustRun(t *testing.T, url string, args ...string) string {
	t.Helper()
	code, stdout, stderr := runCommand(t, url, args...)
	if code != 0 || stderr != "" {
		t.Fatalf("%v: exit code %d\n%s", args, code, stderr)
	}
	return stdout
}

// fillQuarantine makes a database with three records: 1 could not be read, 2 is
// binary, 3 can be read by now.
func fillQuarantine(t *testing.T) string {
	t.Helper()
	url := postgres.New(t)
	k := newTestKeeper(t, url, 1, 100)
	for i, r := range []flowparse.Reject{
		{Reason: flowparse.ReasonUnknownShape, Detail: "no message in the body", Body: []byte(`{"hello":"wörld"}`)},
		{Reason: flowparse.ReasonNotJSON, Detail: "the body is not JSON", Body: []byte("\x00\xff\x1b[31m")},
		{Reason: flowparse.ReasonUnknownShape, Detail: "no message in the body", Body: []byte(flowItem("wamid.3", "hi"))},
	} {
		d := flowparse.Delivery{
			Source: flowparse.SourceKapso, IdempotencyKey: fmt.Sprint("key-", i+1), Rejects: []flowparse.Reject{r},
			ReceivedAt: time.Date(2026, 1, i+1, 12, 0, 0, 0, time.UTC),
		}
		if _, err := k.writer.Put(t.Context(), &d); err != nil {
			t.Fatal(err)
		}
	}
	return url
}

func TestQuarantine_List(t *testing.T) {
	t.Parallel()
	url := fillQuarantine(t)
	for _, c := range []struct {
		args []string
		ids  string
	}{
		{nil, "3 2 1"},
		{[]string{"--limit", "2"}, "3 2"},
		{[]string{"--limit", "0"}, "3 2 1"},
		{[]string{"--reason", "not_json"}, "2"},
		{[]string{"--since", "2026-01-02T12:00:00Z"}, "3 2"},
		{[]string{"--until", "2026-01-02T12:00:00Z"}, "1"},
		{[]string{"--since", "2026-01-02T00:00:00+01:00", "--until", "2026-01-03T00:00:00Z"}, "2"},
		{[]string{"--since", "1h"}, ""},
		{[]string{"--until", "1h"}, "3 2 1"},
		{[]string{"--settled"}, ""},
	} {
		text := mustRun(t, url, append([]string{"quarantine", "list"}, c.args...)...)
		lines := strings.Split(strings.TrimSpace(text), "\n")
		var ids []string
		for _, line := range lines[1:] {
			ids = append(ids, strings.Fields(line)[0])
		}
		if got := strings.Join(ids, " "); got != c.ids || !strings.HasPrefix(lines[0], "ID  RECEIVED") {
			t.Errorf("%v: %s, want %s\n%s", c.args, got, c.ids, text)
		}
	}
	if text := mustRun(t, url, "quarantine", "list", "--reason", "not_json"); !strings.Contains(text,
		"2   2026-01-02T12:00:00Z  kapso   not_json  7      the body is not JSON") {
		t.Error(text)
	}
	if text := mustRun(t, url, "quarantine", "list", "--json", "--limit", "1"); text != fmt.Sprintf(
		`{"id":3,"received_at":"2026-01-03T12:00:00Z","source":"kapso","reason":"unknown_shape","detail":"no message in the body",`+
			`"headers":{"x-idempotency-key":"key-3"},"bytes":%d,"settled_at":null,"settled_as":null}`+"\n", len(flowItem("wamid.3", "hi"))) {
		t.Error(text)
	}
}

func TestQuarantine_Show(t *testing.T) {
	t.Parallel()
	url := fillQuarantine(t)
	if text := mustRun(t, url, "quarantine", "show", "1"); text != `id:          1
received at: 2026-01-01T12:00:00Z
source:      kapso
reason:      unknown_shape
detail:      no message in the body
headers:     {"x-idempotency-key":"key-1"}
body:        18 bytes

{"hello":"wörld"}
` {
		t.Error(text)
	}
	// What would steer a terminal is not printed as it is.
	if text := mustRun(t, url, "quarantine", "show", "2"); !strings.HasSuffix(text, "body:        7 bytes, not text, in base64\n\nAP8bWzMxbQ==\n") {
		t.Error(text)
	}
	if text := mustRun(t, url, "quarantine", "show", "2", "--body"); text != "\x00\xff\x1b[31m" {
		t.Errorf("%q", text)
	}
	for id, want := range map[string][2]any{"1": {`{"hello":"wörld"}`, nil}, "2": {nil, "AP8bWzMxbQ=="}} {
		var got map[string]any
		if err := json.Unmarshal([]byte(mustRun(t, url, "quarantine", "show", "--json", id)), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, [2]any{got["body"], got["body_base64"]}); diff != "" {
			t.Error(diff)
		}
	}
}

func TestQuarantine_Replay(t *testing.T) {
	t.Parallel()
	url := fillQuarantine(t)
	conn := connect(t, url)
	text := mustRun(t, url, "quarantine", "replay", "--all")
	if text != "1 stays: unknown_shape (no message in the body)\n2 stays: not_json (the body is not JSON)\n1 stored, 0 duplicate, 0 ignored, 2 stay\n" {
		t.Error(text)
	}
	if raw := query[string](t, conn, "SELECT convert_from(raw, 'UTF8') FROM flow_responses WHERE message_id = 'wamid.3'"); raw != flowItem("wamid.3", "hi") {
		t.Error(raw)
	}
	if text := mustRun(t, url, "quarantine", "list", "--settled"); !regexp.MustCompile(`(?m)^3 .*\(stored 20`).MatchString(text) {
		t.Error(text)
	}
	if text := mustRun(t, url, "quarantine", "replay", "--reason", "not_json", "--json"); text !=
		`{"id":2,"reason":"not_json","detail":"the body is not JSON"}`+"\n" {
		t.Error(text)
	}
	code, stdout, stderr := runCommand(t, url, "quarantine", "replay", "1", "3", "99")
	if code != 1 || !strings.Contains(stdout, "0 stored, 0 duplicate, 0 ignored, 1 stay") ||
		!strings.Contains(stderr, store.ErrNoRecord.Error()+": 3 was settled before") || !strings.Contains(stderr, store.ErrNoRecord.Error()+": 99") {
		t.Errorf("code %d\n%s\n%s", code, stdout, stderr)
	}
}

// More records than one step holds, each handled once.
func TestQuarantine_ReplayOfMany(t *testing.T) {
	t.Parallel()
	url := postgres.New(t)
	k := newTestKeeper(t, url, 1, 1000)
	d := flowparse.Delivery{Source: flowparse.SourceKapso, ReceivedAt: time.Now()}
	for i := range 5*replayStep + 3 {
		d.Rejects = append(d.Rejects, flowparse.Reject{Reason: flowparse.ReasonUnknownShape, Body: []byte(flowItem(fmt.Sprint("id ", i/2), fmt.Sprint(i)))})
	}
	if _, err := k.writer.Put(t.Context(), &d); err != nil {
		t.Fatal(err)
	}
	if text := mustRun(t, url, "quarantine", "replay", "--since", "1h"); text != "42 stored, 41 duplicate, 0 ignored, 0 stay\n" {
		t.Error(text)
	}
}

func TestQuarantine_Discard(t *testing.T) {
	t.Parallel()
	url := fillQuarantine(t)
	if text := mustRun(t, url, "quarantine", "discard", "2", "--json"); text != `{"id":2,"settled_as":"discarded"}`+"\n" {
		t.Error(text)
	}
	if code, _, stderr := runCommand(t, url, "quarantine", "discard", "2"); code != 1 || !strings.Contains(stderr, store.ErrNoRecord.Error()) {
		t.Errorf("twice: code %d %s", code, stderr)
	}
	if text := mustRun(t, url, "quarantine", "discard", "--until", "2026-01-02T00:00:00Z"); text != "1 discarded\n" {
		t.Error(text)
	}
	if text := mustRun(t, url, "quarantine", "discard", "--all"); text != "1 discarded\n" {
		t.Error(text)
	}
	conn := connect(t, url)
	if n := query[int](t, conn, "SELECT count(*)::int FROM quarantine WHERE settled_as = 'discarded' AND settled_at IS NOT NULL"); n != 3 {
		t.Errorf("%d settled", n)
	}
	if n := query[int](t, conn, "SELECT count(*)::int FROM flow_responses"); n != 0 {
		t.Errorf("%d rows", n)
	}
}

func TestQuarantine_WrongCalls(t *testing.T) {
	t.Parallel()
	url := fillQuarantine(t)
	for _, args := range [][]string{
		{},
		{"empty"},
		{"list", "1"},
		{"list", "--all"},
		{"list", "--since", "yesterday"},
		{"list", "--since", "-1h"},
		{"list", "--limit", "-1"},
		{"list", "--no-such-flag"},
		{"show"},
		{"show", "1", "2"},
		{"show", "x"},
		{"show", "0"},
		{"show", "1", "--reason", "x"},
		{"replay"},
		{"replay", "1", "--all"},
		{"replay", "--all", "--reason", "x"},
		{"replay", "--settled"},
		{"discard"},
		{"discard", "1", "--since", "1h"},
	} {
		if code, stdout, stderr := runCommand(t, url, append([]string{"quarantine"}, args...)...); code != 2 || !strings.Contains(stderr, "usage") {
			t.Errorf("%v: code %d\n%s\n%s", args, code, stdout, stderr)
		}
	}
	if code, _, stderr := runCommand(t, url, "quarantine", "-h"); code != 0 || !strings.Contains(stderr, "Usage: flowkeep quarantine list|show|replay|discard") {
		t.Errorf("-h: code %d\n%s", code, stderr)
	}
	if n := query[int](t, connect(t, url), "SELECT count(*)::int FROM quarantine WHERE settled_at IS NULL"); n != 3 {
		t.Errorf("%d records wait", n)
	}
}

// What is turned away is answered, counted as ignored, and told by the metrics.
func TestQuarantine_AFullOneIsAnswered200(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.QuarantineMaxRecords = 2
	app := startApp(t, cfg)
	for i, want := range []string{"quarantined", "quarantined", "ignored", "ignored"} {
		junk := fmt.Appendf(nil, "junk %d", i)
		if status, answer := post(t, app.URL()+"/webhooks/kapso", sign(junk), junk, nil); status != http.StatusOK || answer[want] != 1.0 {
			t.Errorf("%d: %d %v, want %s", i, status, answer, want)
		}
	}
	deliver(t, app, 1, "stored", flowItem("a neighbour", ""))
	deliver(t, app, 1, "quarantined", "junk 1") // there already
	if _, text := get(t, app.URL()+"/metrics"); !strings.Contains(text, "\nflowkeep_quarantine_turned_away_total 2\n") {
		t.Error("the metric does not say 2")
	}
}

// The command reaches the private Postgres of a server that runs.
func TestQuarantine_BesideARunningServer(t *testing.T) {
	t.Parallel()
	environ := []string{"FLOWKEEP_DATA_DIR=" + openDir(t), "KAPSO_WEBHOOK_SECRET=" + testSecret}
	p := startServer(t, environ...)
	junk := []byte("signed junk")
	if status, answer := post(t, p.url+"/webhooks/kapso", sign(junk), junk, nil); status != http.StatusOK || answer["quarantined"] != 1.0 {
		t.Fatalf("%d %v", status, answer)
	}
	show := startProcess(t, environ, "quarantine", "show", "1", "--body")
	if err := show.wait(time.Minute); err != nil || show.out.String() != "signed junk" {
		t.Errorf("%v\n%s", err, show.out.tail())
	}
}
