package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// statusItem is an event of Kapso's about a message that was sent.
func statusItem(state, wamid, minute string) string {
	return fmt.Sprintf(`{"event":"whatsapp.message.%s","message":{"id":%q,"to":"15551234567","type":"text","text":{"body":"a text nobody may keep"},
		"kapso":{"direction":"outbound","statuses":[{"id":%q,"status":%q,"timestamp":"2026-01-31T12:%s:00Z"}]}}}`, state, wamid, wamid, state, minute)
}

func answerItem(id, context string) string {
	return fmt.Sprintf(`{"message":{"id":%q,"timestamp":"2026-01-31T12:10:00Z","type":"interactive","context":{"id":%q},
		"interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","response_json":"{\"flow_token\":\"order-7\",\"zone\":\"north\"}"}}}}`, id, context)
}

func TestSends_FromTheImportToTheFunnel(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	deliver(t, app, 1, "stored", answerItem("early", "wamid.1")) // before its send is registered
	file := filepath.Join(t.TempDir(), "sends.csv")
	text := "wamid,flow_id,sent_at,context\nwamid.1,1197715005513101,2026-01-31T12:00:00Z,\"{\"\"order\"\":7}\"\nwamid.2,1197715005513101,,\nwamid.3,222,,\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := mustRun(t, cfg.DatabaseURL, "sends", "import", file); out != "3 registered, 0 were registered before, 0 are erased\n" {
		t.Error(out)
	}
	if out := mustRun(t, cfg.DatabaseURL, "sends", "import", "--format", "csv", file); out != "0 registered, 3 were registered before, 0 are erased\n" {
		t.Error(out)
	}
	for _, s := range []string{statusItem("delivered", "wamid.1", "05"), statusItem("read", "wamid.1", "06"), statusItem("sent", "wamid.2", "05"), statusItem("read", "wamid.9", "05")} {
		deliver(t, app, 1, "ignored", s)
	}
	deliver(t, app, 1, "stored", answerItem("late", "wamid.1"))
	conn := connect(t, cfg.DatabaseURL)
	eventually(t, time.Minute, "both answers are linked", func() bool {
		return query[int](t, conn, `SELECT count(*)::int FROM flow_responses WHERE flow_id = '1197715005513101' AND flow_id_source = 'sent_message'`) == 2
	})
	eventually(t, time.Minute, "both are in the typed view", func() bool {
		return query[bool](t, conn, `SELECT EXISTS (SELECT FROM flow_catalog WHERE id = '1197715005513101' AND 'zone' = ANY(columns))`) &&
			query[int](t, conn, `SELECT count(*)::int FROM flows.flow_1197715005513101 WHERE zone = 'north'`) == 2
	})
	if got := query[string](t, conn, `SELECT string_agg(wamid || ' ' || status, ' ' ORDER BY wamid) FROM flow_sends`); got != "wamid.1 read wamid.2 sent wamid.3 sent" {
		t.Error(got)
	}
	if got := query[string](t, conn, `SELECT string_agg(send_context->>'order', ' ') FROM flow_answers`); got != "7 7" {
		t.Error(got)
	}
	list := mustRun(t, cfg.DatabaseURL, "flows")
	for _, want := range []string{`  2 sent, 1 delivered, 1 read, 1 answered, half of them within 10m0s\n`, `222  0 answers\n  1 sent, 0 delivered, 0 read, 0 answered\n`} {
		if !regexp.MustCompile(want).MatchString(list) {
			t.Errorf("the list lacks %s:\n%s", want, list)
		}
	}
	for _, args := range [][]string{{"sends"}, {"sends", "export"}, {"sends", "import"}, {"sends", "import", "x"}, {"sends", "import", "x", "--format", "xml"}} {
		if code, _, stderr := runCommand(t, cfg.DatabaseURL, args...); code != 2 {
			t.Errorf("%v: %d %s", args, code, stderr)
		}
	}
	bad := filepath.Join(t.TempDir(), "bad.ndjson")
	if err := os.WriteFile(bad, []byte(`{"wamid":"wamid.4","flow_id":"1"}`+"\n"+`{"wamid":"wamid.5"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, stderr := runCommand(t, cfg.DatabaseURL, "sends", "import", bad); code != 1 || !strings.HasPrefix(out, "1 registered") || !strings.Contains(stderr, "line 2: invalid send: flow_id is empty") {
		t.Errorf("%d %s %s", code, out, stderr)
	}
}

func TestSends_StatusesOutliveADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	app, _, p := startBehindProxy(t)
	conn := connect(t, app.url)
	if _, err := conn.Exec(t.Context(), `INSERT INTO flow_sends (wamid, flow_id) VALUES ('wamid.1', '1')`); err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
	sendAway(t, app, p)
	for range 2 {
		deliver(t, app, 1, "ignored", statusItem("read", "wamid.1", "06"))
	}
	entries, err := app.spool.Oldest(10, 1<<20)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%d records in the spool, %v", len(entries), err)
	}
	for _, e := range entries[1:] {
		if strings.Contains(string(e.Body), "nobody may keep") || strings.Contains(string(e.Body), "15551234567") {
			t.Errorf("more is kept than a status: %s", e.Body)
		}
	}
	p.setAway(false)
	eventually(t, time.Minute, "the spool is drained", func() bool { return app.spool.Stats().Records == 0 })
	if got := query[string](t, connect(t, app.url), `SELECT status || ' ' || (read_at = '2026-01-31T12:06:00Z') FROM flow_sends`); got != "read true" {
		t.Error(got)
	}
}

func TestSends_StatusesLeaveTheSpoolToAnswers(t *testing.T) {
	t.Parallel()
	cfg, p := proxiedConfig(t)
	cfg.SpoolMaxBytes = 1 << 20
	app := startApp(t, cfg)
	sendAway(t, app, p)
	deliver(t, app, 1, "spooled", flowItem("large", strings.Repeat("x", 600_000)))
	deliver(t, app, 1, "ignored", statusItem("read", "wamid.1", "06"))
	if n := app.spool.Stats().Records; n != 2 {
		t.Errorf("%d records in the spool", n)
	}
	if status, _ := get(t, app.URL()+"/readyz"); status != http.StatusOK {
		t.Errorf("ready: %d", status)
	}
}
