package main

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// The whole circle with one command: each flow that was sent is answered, the
// answer names the message, and holds its token or the flow's id.
func TestLoop_SendsAndAnswers(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	environ := []string{"DATABASE_URL=" + cfg.DatabaseURL, "FLOWKEEP_DATA_DIR=" + cfg.DataDir}
	code, stdout, stderr := runWith(t, environ, "", "simulate", "--loop", "--url", app.URL(), "--secret", testSecret, "--count", "6")
	want := `^sent      6 flows, 0 calls refused
posted    18 statuses, 6 answers, 0 given up
answered  6 stored, 0 duplicate, 18 ignored, 0 quarantined, 0 spooled
linked    6 by sent_message
funnel    6 sent, 6 delivered, 6 read, 6 answered, half of them within [0-9ms]+
$`
	if code != 0 || !regexp.MustCompile(want).MatchString(stdout) {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	conn := connect(t, cfg.DatabaseURL)
	if n := query[int](t, conn, `SELECT count(*)::int FROM flow_sends WHERE status = 'read' AND delivered_at IS NOT NULL`); n != 6 {
		t.Errorf("%d sends are known to be read by their statuses", n)
	}
	got := query[string](t, conn, `SELECT string_agg(coalesce(flow_token, 'none'), ' ' ORDER BY flow_token COLLATE "C") FROM flow_responses WHERE context_message_id LIKE 'wamid.%'`)
	if want := strings.Repeat(loopFlow+" ", 2) + "order-2 order-5 user_3_booking user_6_booking"; got != want {
		t.Error(got)
	}
	if n := query[int](t, conn, `SELECT count(DISTINCT context_message_id)::int FROM flow_responses WHERE phone_number_id = $1 AND wa_id LIKE '120155501%'`, loopNumber); n != 6 {
		t.Errorf("%d answers name their message, number and person", n)
	}
}

// What fails is told, is not sent again, and keeps nothing else from its answer.
func TestLoop_Failures(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	environ := []string{"DATABASE_URL=" + cfg.DatabaseURL, "FLOWKEEP_DATA_DIR=" + cfg.DataDir}
	code, stdout, stderr := runWith(t, environ, "", "simulate", "--loop", "--url", app.URL(), "--secret", testSecret, "--count", "5", "--fail", "402,cut,500")
	for _, want := range []string{"sent      3 flows, 2 calls refused\n", " 3 answers", "1 failed: 131000\n", "1 failed: no answer\n", "1 failed: status 402\n"} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d, and no %q\n%s%s", code, want, stdout, stderr)
		}
	}
	code, _, stderr = runWith(t, environ, "", "simulate", "--loop", "--url", app.URL(), "--secret", "wrong", "--count", "1")
	if code != 1 || !strings.Contains(stderr, "4 events were not answered with 200") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if code, _, stderr := runWith(t, environ, "", "simulate", "--loop", "--fail", "418", "--secret", "x"); code != 2 || !strings.Contains(stderr, `"418" is no failure`) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// "flowkeep send" against a simulated Kapso that only listens.
func TestLoop_Listen(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	environ := []string{"DATABASE_URL=" + cfg.DatabaseURL, "FLOWKEEP_DATA_DIR=" + cfg.DataDir}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &output{}
	var listening sync.WaitGroup
	listening.Go(func() {
		p := program{environ: environ, stdout: out, stderr: out}
		if code := run(ctx, p, []string{"simulate", "--loop", "--listen", "127.0.0.1:0", "--url", app.URL(), "--secret", testSecret}); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	var address []string
	eventually(t, time.Minute, "Kapso listens", func() bool {
		address = regexp.MustCompile(`KAPSO_BASE_URL=\S+`).FindStringSubmatch(out.String())
		return address != nil
	})
	code, wamid, stderr := runWith(t, append(environ, address[0], "KAPSO_API_KEY="+testAPIKey), pageFlow, "send", "flow", "--json", "-")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	conn := connect(t, cfg.DatabaseURL)
	eventually(t, time.Minute, "the answer is stored", func() bool {
		return query[bool](t, conn, `SELECT EXISTS (SELECT FROM flow_responses WHERE context_message_id = $1 AND wa_id = '15551234567')`, strings.TrimSpace(wamid))
	})
	cancel()
	listening.Wait()
	if !strings.Contains(out.String(), "sent      1 flows, 0 calls refused\n") {
		t.Error(out.String())
	}
}
