package localpg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// patience is for what happens in a second on an idle machine.
const patience = 60 * time.Second

// helperDir makes the test binary a process that holds a server in that folder.
const helperDir = "LOCALPG_TEST_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		if err := runHelper(dir); err != nil {
			say(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runHelper starts a server, prints its pid, prints "interrupted" for each
// SIGINT, and stops the server when its input ends.
func runHelper(dir string) error {
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	s, err := Start(context.Background(), Options{Dir: dir, Settings: quick()})
	if err != nil {
		return err
	}
	say(s.PID())
	go func() {
		for range interrupts {
			say("interrupted")
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return s.Stop(context.Background())
}

func say(what any) { _, _ = fmt.Fprintln(os.Stdout, what) }

type helper struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string // closed when the helper has ended
}

// startHelper runs the test binary as a helper, in a process group of its own.
func startHelper(t *testing.T, dir string) *helper {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperDir+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	h := &helper{cmd: cmd, stdin: stdin, lines: make(chan string, 10)}
	go func() {
		defer close(h.lines)
		for scan := bufio.NewScanner(stdout); scan.Scan(); {
			h.lines <- scan.Text()
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	return h
}

func (h *helper) line(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-h.lines:
		if !ok {
			t.Fatal("the helper has ended")
		}
		return line
	case <-time.After(patience):
		t.Fatal("the helper says nothing")
	}
	return ""
}

// pid reads the pid of the helper's server.
func (h *helper) pid(t *testing.T) int {
	t.Helper()
	line := h.line(t)
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatalf("helper: %s", line)
	}
	return pid
}

// kill is kill -9, and waits until the process is dead.
func (h *helper) kill(t *testing.T) {
	t.Helper()
	must(t, h.cmd.Process.Kill())
	_ = h.cmd.Wait() // "signal: killed"
}

// quick is for servers whose data need not survive a power cut.
func quick() map[string]string {
	return map[string]string{"fsync": "off", "shared_buffers": "8MB", "max_connections": "10"}
}

// newDir returns the name of a folder to be made, which Postgres can reach
// even as another user.
func newDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() == 0 {
		must(t, os.Chmod(filepath.Dir(dir), 0o711))
	}
	return filepath.Join(dir, "pg")
}

// startServer starts a server that ends with the test.
func startServer(t *testing.T, dir string) *Server {
	t.Helper()
	began := time.Now()
	s, err := Start(t.Context(), Options{Dir: dir, Settings: quick()})
	must(t, err)
	t.Logf("started in %v", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

// query runs sql and returns the first column of its last result's rows.
func query(t *testing.T, url, sql string) []string {
	t.Helper()
	conn := connectTo(t, url)
	defer closeConn(conn)
	return queryOn(t, conn, sql)
}

func queryOn(t *testing.T, conn *pgconn.PgConn, sql string) []string {
	t.Helper()
	results, err := conn.Exec(t.Context(), sql).ReadAll()
	must(t, err)
	var values []string
	for _, row := range results[len(results)-1].Rows {
		values = append(values, string(row[0]))
	}
	return values
}

func connectTo(t *testing.T, url string) *pgconn.PgConn {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), url)
	must(t, err)
	return conn
}

func readLog(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

// eventually polls until ok, or fails.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func waitDone(t *testing.T, s *Server) {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Fatal("not in time: Done")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err, target error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if target != nil && !errors.Is(err, target) {
		t.Errorf("error is not %q: %v", target, err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error does not say %q: %v", text, err)
		}
	}
}
