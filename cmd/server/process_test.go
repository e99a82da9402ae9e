package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/simulate"
)

// What a newcomer does: start without any configuration, do what is printed.
func TestProcess_FirstStartWithoutConfiguration(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	p := startServer(t, "FLOWKEEP_DATA_DIR="+dir)
	info, err := os.Stat(filepath.Join(dir, "webhook_secret"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("generated secret: %v, %v", info, err)
	}
	psql, send := printedCommands(t, p)
	out, err := exec.Command("sh", "-c", beFlowkeep+"=1 "+send).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "1 stored") {
		t.Errorf("%s: %v\n%s", send, err, out)
	}
	if got := runPsql(t, psql); got != "1" {
		t.Errorf("psql counts %s rows", got)
	}

	// Commands join the database of the server that runs.
	status := startProcess(t, []string{"FLOWKEEP_DATA_DIR=" + dir}, "migrate", "status")
	if err := status.wait(10 * time.Second); err != nil || strings.Contains(status.out.String(), "waiting") {
		t.Errorf("migrate status: %v\n%s", err, status.out.String())
	}
	other := startProcess(t, []string{"FLOWKEEP_DATA_DIR=" + dir, "FLOWKEEP_ADDR=127.0.0.1:0"}, "serve")
	if err := other.wait(20 * time.Second); err == nil || !strings.Contains(other.out.String(), "in use") {
		t.Errorf("a second server on one folder: %v\n%s", err, other.out.String())
	}

	// Ctrl-C reaches the whole process group of a terminal.
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := p.wait(10 * time.Second); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	second := startServer(t, "FLOWKEEP_DATA_DIR="+dir)
	psql, _ = printedCommands(t, second)
	if got := runPsql(t, psql); got != "1" {
		t.Errorf("after a restart psql counts %s rows", got)
	}
}

// printedCommands returns the lines that open the database and that send a
// first response.
func printedCommands(t *testing.T, p *process) (psql, send string) {
	t.Helper()
	eventually(t, 10*time.Second, "the greeting is whole", func() bool { return strings.Contains(p.out.String(), "--count 1\n") })
	for line := range strings.Lines(p.out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if strings.Contains(line, "psql -h ") {
			psql = line
		}
		if strings.HasSuffix(line, "--count 1") {
			send = line
		}
	}
	return psql, send
}

func runPsql(t *testing.T, command string) string {
	t.Helper()
	words := append(strings.Fields(command), "-XAtc", "SELECT count(*) FROM flow_responses")
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", words, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestProcess_SIGTERMUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	url := postgres.New(t)
	p := startServer(t, "DATABASE_URL="+url, "KAPSO_WEBHOOK_SECRET="+testSecret, "FLOWKEEP_DATA_DIR="+t.TempDir())
	acknowledged := map[string]bool{}
	var mu sync.Mutex
	enough := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = simulate.Run(t.Context(), simulate.Config{
			URL: p.url, Secret: testSecret, Count: 20000, Concurrency: 16, Mix: mixOf(t, "responses"),
			OnAnswer: func(s simulate.Sent, a simulate.Answer) {
				mu.Lock()
				defer mu.Unlock()
				if a.OK() {
					for _, m := range s.Items {
						acknowledged[m.MessageID] = true
					}
					if len(acknowledged) == 300 {
						close(enough)
					}
				} else if a.Status != 0 && a.Status != 503 {
					t.Errorf("answered %d", a.Status)
				}
			},
		})
	}()
	<-enough
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.wait(10 * time.Second); err != nil {
		t.Errorf("exit: %v", err)
	}
	<-done
	rows, _ := connect(t, url).Query(t.Context(), "SELECT message_id FROM flow_responses")
	stored, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range stored {
		delete(acknowledged, id)
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d acknowledged messages are missing", len(acknowledged))
	}
}

func TestProcess_Commands(t *testing.T) {
	t.Parallel()
	url := postgres.NewEmpty(t)
	base := []string{"DATABASE_URL=" + url, "KAPSO_WEBHOOK_SECRET=" + testSecret, "FLOWKEEP_DATA_DIR=" + t.TempDir()}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"help"}, 0, "simulate"},
		{[]string{"--help"}, 0, "Usage: flowkeep"},
		{[]string{"version"}, 0, "flowkeep "},
		{[]string{"simulate", "-h"}, 0, "-concurrency"},
		{[]string{"nonsense"}, 2, `there is no command "nonsense"`},
		{[]string{"serve", "now"}, 2, "one word too many"},
		{[]string{"simulate", "--count", "x"}, 2, "invalid value"},
		{[]string{"simulate", "--mix", "x=1"}, 2, "--mix"},
		{[]string{"migrate"}, 2, "up, down or status"},
		{[]string{"migrate", "status"}, 0, "waiting"},
		{[]string{"migrate", "up"}, 0, "up to date"},
		{[]string{"migrate", "down"}, 0, "took back"},
		{[]string{"migrate", "up"}, 0, "up to date"},
		{[]string{"health", "--url", "http://127.0.0.1:1"}, 1, "not ready"},
	} {
		p := startProcess(t, base, c.args...)
		_ = p.wait(30 * time.Second)
		if code := p.cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(p.out.String(), c.says) {
			t.Errorf("%v: exit %d, want %d and %q:\n%s", c.args, code, c.code, c.says, p.out.String())
		}
	}
	server := startServer(t, base...)
	p := startProcess(t, base, "health", "--url", server.url)
	if err := p.wait(10 * time.Second); err != nil || !strings.Contains(p.out.String(), `"ok"`) {
		t.Errorf("health: %v\n%s", err, p.out.String())
	}
}

func TestProcess_EveryFaultOfTheConfigurationAtOnce(t *testing.T) {
	t.Parallel()
	p := startProcess(t, []string{
		"FLOWKEEP_MAX_BODY_BYTES=many", "FLOWKEEP_LOG_LEVEL=loud", "META_APP_SECRET_FILE=/does/not/exist",
		"KAPSO_WEBHOOK_SECRET=hush", "KAPSO_WEBHOOK_SECRET_FILE=/dev/null", "FLOWKEEP_DATA_DIR=" + t.TempDir(),
	}, "serve")
	_ = p.wait(10 * time.Second)
	text := p.out.String()
	for _, name := range []string{"FLOWKEEP_MAX_BODY_BYTES", "FLOWKEEP_LOG_LEVEL", "META_APP_SECRET_FILE", "KAPSO_WEBHOOK_SECRET_FILE"} {
		if !strings.Contains(text, name) {
			t.Errorf("does not name %s", name)
		}
	}
	if strings.Contains(text, "hush") {
		t.Error("prints a secret")
	}
	if p.cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("exit %d", p.cmd.ProcessState.ExitCode())
	}
}

func TestProcess_WithoutAnyPostgresItSaysWhatToSet(t *testing.T) {
	t.Parallel()
	p := startProcess(t, []string{"FLOWKEEP_DATA_DIR=" + openDir(t), "PG_BINDIR=" + t.TempDir(), "FLOWKEEP_ADDR=127.0.0.1:0"}, "serve")
	if err := p.wait(10 * time.Second); err == nil || p.cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("ended with %v", err)
	}
	if text := p.out.String(); !strings.HasPrefix(text, "flowkeep serve: set DATABASE_URL to your Postgres") || strings.Count(text, "\n") != 1 {
		t.Errorf("says:\n%s", text)
	}
}
