package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/simulate"
	"flowkeep/internal/store/storetest"
)

// beFlowkeep makes the test binary behave as the real one, so that tests can
// start it as a process of its own and kill it.
const beFlowkeep = "BE_FLOWKEEP"

const testSecret = "a secret for tests"

var postgres *storetest.Server

func TestMain(m *testing.M) {
	if os.Getenv(beFlowkeep) != "" {
		main()
	}
	os.Exit(storetest.Run(m, func(s *storetest.Server) { postgres = s }))
}

// testConfig is that of a server on a free port with a fresh database.
func testConfig(t *testing.T) config {
	t.Helper()
	cfg, err := readConfig([]string{
		"DATABASE_URL=" + postgres.New(t), "KAPSO_WEBHOOK_SECRET=" + testSecret,
		"META_APP_SECRET=app secret", "META_VERIFY_TOKEN=verify me",
		"FLOWKEEP_ADDR=127.0.0.1:0", "FLOWKEEP_DATA_DIR=" + t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// startApp runs the real App until the test ends.
func startApp(t *testing.T, cfg config) *App {
	t.Helper()
	app, _ := runApp(t, cfg, zerolog.Nop())
	return app
}

// runApp runs the real App until stop, or until the test ends.
func runApp(t *testing.T, cfg config, log zerolog.Logger) (app *App, stop func()) {
	t.Helper()
	app, err := openApp(t.Context(), cfg, log, keepDurably)
	if err != nil {
		t.Fatal(err)
	}
	return app, serveApp(t, app)
}

// serveApp runs an App that is open until stop, or until the test ends.
func serveApp(t *testing.T, app *App) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- app.Serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if err := app.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// post sends a signed body and returns the status and the answer.
func post(t *testing.T, url, signature string, body []byte, headers map[string]string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Webhook-Signature", signature)
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	return do(t, req)
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func do(t *testing.T, req *http.Request) (int, map[string]any) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatalf("status %d: %v", resp.StatusCode, err)
	}
	return resp.StatusCode, answer
}

func sign(body []byte) string { return simulate.Sign(testSecret, body) }

// connect returns a session of the test's own.
func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// query returns the single value that sql selects.
func query[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// eventually polls until ok, at most for limit.
func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-tick.C
	}
}

// process is flowkeep running as a process of its own.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	out    *output
	ended  chan struct{}
	err    error
	url    string
	secret string
}

// startProcess runs a command with only the given environment, in a process
// group of its own. It is killed when the test ends.
func startProcess(t testing.TB, environ []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, out: &output{}, ended: make(chan struct{}), secret: testSecret}
	p.cmd = exec.Command(os.Args[0], args...)
	p.cmd.Env = append([]string{beFlowkeep + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, environ...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.ended) }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("output of %v:\n%s", args, p.out.tail())
		}
	})
	return p
}

// startServer runs "serve" on a free port and waits until it is ready.
func startServer(t testing.TB, environ ...string) *process {
	t.Helper()
	p := startProcess(t, append(environ, "FLOWKEEP_ADDR=127.0.0.1:0"), "serve")
	eventually(t, time.Minute, "the server listens", func() bool {
		select {
		case <-p.ended:
			t.Fatalf("the server ended: %v\n%s", p.err, p.out.tail())
		default:
		}
		_, after, found := strings.Cut(p.out.String(), `"address":"`)
		if found {
			addr, _, _ := strings.Cut(after, `"`)
			p.url = "http://" + addr
		}
		return found
	})
	return p
}

// wait returns how the process ended, at most after limit.
func (p *process) wait(limit time.Duration) error {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.err
	case <-time.After(limit):
		p.t.Fatalf("still running after %v", limit)
		return nil
	}
}

// output gathers what a process prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (o *output) tail() string {
	text := o.String()
	return text[max(0, len(text)-4000):]
}

// openDir is a temporary folder that the private Postgres's user may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "flowkeep-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "data")
}
