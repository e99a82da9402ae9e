package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"flowkeep/internal/simulate"
	"flowkeep/internal/store/read"
)

// What was delivered comes out again, each response once.
func TestExport_IsWhatWasDelivered(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	if _, err := simulate.Run(t.Context(), simulate.Config{URL: app.URL(), Secret: testSecret, Count: 200, Mix: mixOf(t, "default=5,custom=5,odd=2")}); err != nil {
		t.Fatal(err)
	}
	viewOf(t, cfg.DatabaseURL, "notes")
	conn := connect(t, cfg.DatabaseURL)
	stored := query[int](t, conn, "SELECT count(*)::int FROM flow_responses")
	lines := 0
	for line := range strings.Lines(mustRun(t, cfg.DatabaseURL, "export")) {
		var r struct {
			MessageID string          `json:"message_id"`
			Response  json.RawMessage `json:"response"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if !query[bool](t, conn, "SELECT response::text = $2 FROM flow_responses WHERE message_id = $1", r.MessageID, string(r.Response)) {
			t.Errorf("the answers of %s differ", r.MessageID)
		}
		lines++
	}
	if lines != stored {
		t.Errorf("%d lines of %d responses", lines, stored)
	}
	ofFlow := query[int](t, conn, "SELECT count(*)::int FROM flows.flow_1197715005513101")
	for flow, want := range map[string]int{"": stored, "1197715005513101": ofFlow, "flow_1197715005513101": ofFlow} {
		text := mustRun(t, cfg.DatabaseURL, "export", "--format", "csv", "--flow", flow, "--since", "1h", "--until", "2999-01-01")
		table, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		if err != nil || len(table) != want+1 {
			t.Errorf("flow %q: %d rows, want %d: %v", flow, len(table)-1, want, err)
		}
	}
	if text := mustRun(t, cfg.DatabaseURL, "export", "--until", "1h"); text != "" {
		t.Errorf("there was nothing before: %s", text)
	}
}

func TestExport_WrongCalls(t *testing.T) {
	t.Parallel()
	url := postgres.New(t)
	for _, args := range [][]string{{"now"}, {"--format", "xlsx"}, {"--since", "yesterday"}, {"--until", "-1h"}, {"--no-such-flag"}} {
		if code, stdout, stderr := runCommand(t, url, append([]string{"export"}, args...)...); code != 2 || !strings.Contains(stderr, "usage") || stdout != "" {
			t.Errorf("%v: code %d\n%s\n%s", args, code, stdout, stderr)
		}
	}
	if code, stdout, stderr := runCommand(t, url, "export", "--flow", "none"); code != 1 || !strings.Contains(stderr, read.ErrNotFound.Error()) || stdout != "" {
		t.Errorf("no such flow: code %d\n%s\n%s", code, stdout, stderr)
	}
	if code, _, stderr := runCommand(t, url, "export", "-h"); code != 0 || !strings.Contains(stderr, "-raw-cells") {
		t.Errorf("-h: code %d\n%s", code, stderr)
	}
}

// As with "flowkeep export | head -1": it ends at once and says nothing.
func TestExport_AReaderThatGoesAwayIsNoError(t *testing.T) {
	t.Parallel()
	url := postgres.New(t)
	conn := connect(t, url)
	if _, err := conn.Exec(t.Context(), `INSERT INTO flow_responses (message_id, token_kind, response, response_status, source, raw, received_at)
		SELECT n::text, 'none', '{"a": 1}', 'ok', 'kapso', '', now() FROM generate_series(1, 100000) AS n`); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "export")
	cmd.Env = []string{beFlowkeep + "=1", "DATABASE_URL=" + url, "FLOWKEEP_DATA_DIR=" + t.TempDir()}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"message_id":"`) {
		t.Errorf("%v: %s", err, line)
	}
	stdout.Close()
	if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
		t.Errorf("%v: %s", err, stderr.String())
	}
}

func TestExport_ShowsProgress(t *testing.T) {
	t.Parallel()
	var terminal bytes.Buffer
	stop := showProgress(&terminal, &read.Export{})
	stop()
	if got := terminal.String(); !strings.HasSuffix(got, "\r0 rows, 0 rows/s \n") {
		t.Errorf("%q", got)
	}
}
