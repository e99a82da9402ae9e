package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/localpg"
	"flowkeep/internal/store"
)

// benchPostgres is a Postgres of a benchmark's own, as durable as any: fsync
// and synchronous_commit are on.
type benchPostgres struct {
	server *localpg.Server
	dir    string
	url    string
	admin  *pgx.Conn // as superuser
	bindir string    // of its programs; empty where that is not known
}

func startBenchPostgres(b *testing.B) *benchPostgres {
	b.Helper()
	return startPostgresIn(b, openBenchDir(b), nil)
}

// openBenchDir is a temporary folder that Postgres's user may enter.
func openBenchDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "flowkeep-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		b.Fatal(err)
	}
	return dir
}

func startPostgresIn(b *testing.B, dir string, settings map[string]string) *benchPostgres {
	b.Helper()
	server, err := localpg.Start(context.Background(), localpg.Options{Dir: filepath.Join(dir, "postgres"), Settings: settings})
	if err != nil {
		b.Fatal(err)
	}
	pg := &benchPostgres{server: server, dir: dir, url: server.URL()}
	b.Cleanup(func() { pg.stop(b) })
	// Here, since it would count towards the first server's memory.
	if err := store.MigrateUp(context.Background(), pg.url); err != nil {
		b.Fatal(err)
	}
	asSuperuser, err := url.Parse(pg.url)
	if err != nil {
		b.Fatal(err)
	}
	asSuperuser.User = url.User("postgres")
	if pg.admin, err = pgx.Connect(context.Background(), asSuperuser.String()); err != nil {
		b.Fatal(err)
	}
	pg.bindir, _ = serverFolder(server.PID())
	return pg
}

// stop may be called twice.
func (pg *benchPostgres) stop(b *testing.B) {
	b.Helper()
	if pg.admin != nil {
		_ = pg.admin.Close(context.Background())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := pg.server.Stop(ctx); err != nil {
		b.Error(err)
	}
}

// startSlowPostgres starts one whose flushes take flushDelay longer, by a
// library preloaded into it. Without the means it says why not. model is an
// ordinary one, which may have ended.
func startSlowPostgres(b *testing.B, model *benchPostgres) (slow *benchPostgres, whyNot string) {
	b.Helper()
	if model.bindir == "" {
		return nil, "No runs on a slow disk: preloading a library into Postgres needs Linux."
	}
	if _, err := exec.LookPath("cc"); err != nil {
		return nil, "No runs on a slow disk: the library that delays flushes needs a C compiler (cc)."
	}
	dir := openBenchDir(b)
	programs := filepath.Join(dir, "bin")
	if err := os.Mkdir(programs, 0o755); err != nil {
		b.Fatal(err)
	}
	library := filepath.Join(dir, "slowflush.so")
	out, err := exec.Command("cc", "-shared", "-fPIC", "-O2", "-o", library, "../../scripts/slowflush.c", "-ldl").CombinedOutput()
	if err != nil {
		b.Fatalf("compile the library that delays flushes: %v\n%s", err, out)
	}
	// Postgres gets a clean environment, so the library is in that of a program
	// of the same name that becomes the real one.
	preload := fmt.Sprintf("LD_PRELOAD=%s SLOWFLUSH_US=%d ", library, flushDelay.Microseconds())
	for program, environ := range map[string]string{"postgres": preload, "initdb": ""} {
		script := "#!/bin/sh\n" + environ + "exec '" + filepath.Join(model.bindir, program) + "' \"$@\"\n"
		if err := os.WriteFile(filepath.Join(programs, program), []byte(script), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	b.Setenv("PG_BINDIR", programs)
	slow = startPostgresIn(b, dir, nil)
	slow.exec(b, "CREATE TABLE delayed (n int)")
	start := time.Now()
	slow.exec(b, "INSERT INTO delayed VALUES (1)")
	if took := time.Since(start); took < flushDelay {
		b.Fatalf("a commit takes %v: the library that delays flushes does not work", took)
	}
	return slow, ""
}

func (pg *benchPostgres) exec(b *testing.B, sql string, args ...any) {
	b.Helper()
	if _, err := pg.admin.Exec(context.Background(), sql, args...); err != nil {
		b.Fatalf("%s: %v", sql, err)
	}
}

func (pg *benchPostgres) empty(b *testing.B) {
	b.Helper()
	pg.exec(b, "TRUNCATE flow_responses, quarantine")
}

// checkpoint leaves no writing to do for what was before.
func (pg *benchPostgres) checkpoint(b *testing.B) {
	b.Helper()
	pg.exec(b, "CHECKPOINT")
}

func (pg *benchPostgres) count(b *testing.B) (rows int64) {
	b.Helper()
	if err := pg.admin.QueryRow(context.Background(), "SELECT count(*) FROM flow_responses").Scan(&rows); err != nil {
		b.Fatal(err)
	}
	return rows
}

const fillSQL = `
INSERT INTO flow_responses (message_id, flow_token, token_kind, flow_id, flow_id_source, flow_name,
	response, response_status, wa_id, user_id, source, raw, sent_at, received_at)
SELECT 'wamid.' || encode(sha256(n::text::bytea), 'base64'), '119771500551310' || n % 10, 'flow_id',
	'119771500551310' || n % 10, 'token_shape', 'flow', '{"a": 1}', 'ok',
	'1555' || lpad((n * 7919 % 10000000)::text, 7, '0'), 'US.' || md5(n::text), 'kapso', '{}', now(), now()
FROM generate_series($1::bigint, $2) AS n
ORDER BY 1`

// fill makes a table of small rows, as large in its indexes as a real one.
func (pg *benchPostgres) fill(b *testing.B, rows int) {
	b.Helper()
	const step = 1_000_000
	pg.empty(b)
	for from := 1; from <= rows; from += step {
		to := min(from+step-1, rows)
		pg.exec(b, fillSQL, from, to)
		fmt.Fprintf(os.Stderr, "filled %d of %d rows\n", to, rows)
	}
	pg.exec(b, "VACUUM (ANALYZE) flow_responses")
}

// machine says in one line where the figures come from.
func machine(b *testing.B, pg *benchPostgres) string {
	b.Helper()
	var version string
	if err := pg.admin.QueryRow(context.Background(), "SHOW server_version").Scan(&version); err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"fsync", "synchronous_commit"} {
		var value string
		if err := pg.admin.QueryRow(context.Background(), "SHOW "+name).Scan(&value); err != nil || value != "on" {
			b.Fatalf("%s is %q (%v): nothing would be durable", name, value, err)
		}
	}
	number, _, _ := strings.Cut(version, " ")
	cpu, kernel := machineNames()
	return fmt.Sprintf("%s, %d cores shared by loader, server and Postgres; %s; %s; PostgreSQL %s, fsync and synchronous_commit on, a flush of 8 KiB takes %.2f ms.\n",
		cpu, runtime.NumCPU(), kernel, runtime.Version(), number, flushTime(b, pg.dir).Seconds()*1000)
}
