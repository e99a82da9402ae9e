package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/webhook"
)

// The sinks that are compared.
const (
	sinkNothing = "nothing" // stores nothing: the floor
	sinkInsert  = "insert"  // one INSERT a request
	sinkWriter  = "writer"  // keepDurably, as in earnest
)

// These variables make the test binary a server for a benchmark. It prints its
// address, and ends when its input does, so that it outlives nobody.
const (
	benchSinkVar     = "BENCH_SINK"
	benchProfilesVar = "BENCH_PROFILES"

	cpuProfile   = "cpu.prof"
	allocProfile = "allocs.prof"
)

// In init, since the tests' own Postgres is not for this process.
func init() {
	name := os.Getenv(benchSinkVar)
	if name == "" {
		return
	}
	if err := serveBench(name, os.Getenv(benchProfilesVar)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serveBench is serve with a sink by name.
func serveBench(sink, profiles string) (err error) {
	if profiles == "" {
		runtime.MemProfileRate = 0 // only test binaries sample allocations unasked
	}
	cfg, err := readConfig(os.Environ())
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	log, err := newLog(benchLog{null}, cfg)
	if err != nil {
		return err
	}
	sinkOf := map[string]func(*App) webhook.Sink{sinkNothing: storeNothing, sinkInsert: insertEach, sinkWriter: keepDurably}[sink]
	if sinkOf == nil {
		return fmt.Errorf("there is no sink %q", sink)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	app, err := openApp(ctx, cfg, log, sinkOf)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	if profiles != "" {
		keep, err := startProfiles(profiles)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, keep()) }()
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	fmt.Fprintln(os.Stdout, app.URL())
	return app.Serve(ctx)
}

// benchLog pays for every line but keeps only those that tell of trouble: a
// log file on the disk that Postgres flushes would disturb what is measured.
type benchLog struct{ io.Writer }

func (l benchLog) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	if level >= zerolog.WarnLevel {
		return os.Stderr.Write(line)
	}
	return l.Write(line)
}

// startProfiles returns what ends the CPU profile and writes both.
func startProfiles(dir string) (keep func() error, err error) {
	cpu, err := os.Create(filepath.Join(dir, cpuProfile))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, err
	}
	return func() error {
		pprof.StopCPUProfile()
		allocs, err := os.Create(filepath.Join(dir, allocProfile))
		if err != nil {
			return err
		}
		return errors.Join(pprof.Lookup("allocs").WriteTo(allocs, 0), allocs.Close(), cpu.Close())
	}, nil
}

// keepFunc is a Sink of one function.
type keepFunc func(context.Context, *flowparse.Delivery) (webhook.Kept, error)

func (f keepFunc) Keep(ctx context.Context, d *flowparse.Delivery) (webhook.Kept, error) {
	return f(ctx, d)
}

func storeNothing(*App) webhook.Sink {
	return keepFunc(func(_ context.Context, d *flowparse.Delivery) (webhook.Kept, error) {
		return webhook.Kept{Stored: len(d.Responses)}, nil
	})
}

// insertOneSQL is what the writer's statement would be without company.
const insertOneSQL = `
INSERT INTO flow_responses (
	message_id, flow_token, token_kind, flow_id, flow_id_source, flow_name,
	response, response_status, phone_number_id, wa_id, user_id, contact_name,
	conversation_id, context_message_id, source, idempotency_key, raw, sent_at, received_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
ON CONFLICT (message_id) DO UPDATE SET message_id = EXCLUDED.message_id WHERE false
RETURNING message_id`

const insertPool = 16

// insertEach commits each response by itself, in a prepared statement on one of
// insertPool sessions with the settings that the writer's have.
func insertEach(a *App) webhook.Sink {
	cfg, err := pgxpool.ParseConfig(a.cfg.DatabaseURL)
	if err != nil {
		panic(err)
	}
	cfg.MaxConns = insertPool
	maps.Copy(cfg.ConnConfig.RuntimeParams, map[string]string{
		"synchronous_commit": "on", "lock_timeout": "2000", "statement_timeout": "3000",
	})
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		panic(err)
	}
	return keepFunc(func(ctx context.Context, d *flowparse.Delivery) (kept webhook.Kept, err error) {
		ctx, cancel := context.WithTimeout(ctx, putTimeout)
		defer cancel()
		for i := range d.Responses {
			var id string
			err := pool.QueryRow(ctx, insertOneSQL, insertArgs(d, &d.Responses[i])...).Scan(&id)
			switch {
			case err == nil:
				kept.Stored++
			case errors.Is(err, pgx.ErrNoRows):
				kept.Duplicate++
			default:
				return webhook.Kept{}, fmt.Errorf("%w: %w", webhook.ErrUnavailable, err)
			}
		}
		return kept, nil
	})
}

func insertArgs(d *flowparse.Delivery, r *flowparse.Response) []any {
	var sentAt *time.Time
	if !r.SentAt.IsZero() {
		sentAt = &r.SentAt
	}
	return []any{
		r.MessageID, r.FlowToken, string(r.TokenKind), unlessEmpty(r.FlowID), unlessEmpty(string(r.FlowIDSource)), unlessEmpty(r.FlowName),
		r.Answers, string(r.Status), unlessEmpty(r.PhoneNumberID), unlessEmpty(r.WaID), unlessEmpty(r.UserID), unlessEmpty(r.ContactName),
		unlessEmpty(r.ConversationID), unlessEmpty(r.ContextMessageID), string(d.Source), unlessEmpty(d.IdempotencyKey), r.Raw, sentAt, d.ReceivedAt,
	}
}

func unlessEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// benchServer is a server for a benchmark, seen from outside.
type benchServer struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *output // warnings and errors
	url   string
}

// startBenchServer returns when the server listens. profiles may be empty.
func startBenchServer(b *testing.B, databaseURL, sink, profiles string) *benchServer {
	b.Helper()
	s := &benchServer{cmd: exec.Command(os.Args[0]), out: &output{}}
	s.cmd.Env = []string{
		benchSinkVar + "=" + sink, benchProfilesVar + "=" + profiles,
		"DATABASE_URL=" + databaseURL, "KAPSO_WEBHOOK_SECRET=" + testSecret,
		"FLOWKEEP_ADDR=127.0.0.1:0", "FLOWKEEP_DATA_DIR=" + b.TempDir(), "FLOWKEEP_LOG_FORMAT=json",
	}
	for _, name := range []string{"PATH", "HOME", "GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG"} { // for experiments
		if value, ok := os.LookupEnv(name); ok {
			s.cmd.Env = append(s.cmd.Env, name+"="+value)
		}
	}
	s.cmd.Stderr = s.out
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	s.stdin = stdin
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.cmd.Process.Kill() }) // after stop it reaches nobody
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = s.cmd.Wait()
		b.Fatalf("the server did not start: %v\n%s", err, s.out.tail())
	}
	s.url = strings.TrimSpace(line)
	return s
}

// stop ends the server in order.
func (s *benchServer) stop(b *testing.B) {
	b.Helper()
	force := time.AfterFunc(30*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer force.Stop()
	_ = s.stdin.Close()
	if err := s.cmd.Wait(); err != nil {
		b.Fatalf("the server did not end in order: %v\n%s", err, s.out.tail())
	}
}
