package main

import (
	"context"
	"errors"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/localpg"
)

// faultPostgres is a Postgres of a fault's own, as durable as any, that can be
// killed and started again.
type faultPostgres struct {
	b        *testing.B
	dir      string
	settings map[string]string // for the next start
	server   *localpg.Server
}

func newFaultPostgres(b *testing.B) *faultPostgres {
	b.Helper()
	return &faultPostgres{b: b, dir: filepath.Join(openBenchDir(b), "postgres")}
}

func (pg *faultPostgres) start() {
	pg.b.Helper()
	server, err := localpg.Start(context.Background(), localpg.Options{Dir: pg.dir, Settings: pg.settings})
	if err != nil {
		pg.b.Fatal(err)
	}
	pg.server = server
	pg.b.Cleanup(func() { stopServer(pg.b, server) })
}

func (pg *faultPostgres) stop() {
	pg.b.Helper()
	stopServer(pg.b, pg.server)
}

// stopServer does nothing to a server that has ended.
func stopServer(b *testing.B, server *localpg.Server) {
	b.Helper()
	select {
	case <-server.Done():
		return
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Stop(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		b.Error(err)
	}
}

// kill ends every process of Postgres at once, as the machine's end would.
func (pg *faultPostgres) kill() {
	pg.b.Helper()
	conn := pg.admin()
	pg.signal(pg.processes(conn), syscall.SIGKILL)
	<-pg.server.Done()
	conn.Close(context.Background())
}

// freeze stops every process of Postgres until thaw: connections are taken, and
// nobody answers.
func (pg *faultPostgres) freeze() (thaw func()) {
	pg.b.Helper()
	conn := pg.admin()
	all := pg.processes(conn)
	pg.signal(all, syscall.SIGSTOP)
	thaw = sync.OnceFunc(func() {
		pg.signal(all, syscall.SIGCONT)
		conn.Close(context.Background())
	})
	pg.b.Cleanup(thaw)
	return thaw
}

// processes lists the postmaster first, since it would make others.
func (pg *faultPostgres) processes(conn *pgx.Conn) []int {
	pg.b.Helper()
	rows, _ := conn.Query(context.Background(), "SELECT pid FROM pg_stat_activity")
	backends, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		pg.b.Fatal(err)
	}
	return append([]int{pg.server.PID()}, backends...)
}

func (pg *faultPostgres) signal(processes []int, sig syscall.Signal) {
	pg.b.Helper()
	for _, pid := range processes {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			pg.b.Fatal(err)
		}
	}
}

func (pg *faultPostgres) url() string { return pg.server.URL() }

// admin returns a session of the superuser's, which ends with the fault.
func (pg *faultPostgres) admin() *pgx.Conn {
	pg.b.Helper()
	u, err := url.Parse(pg.url())
	if err != nil {
		pg.b.Fatal(err)
	}
	u.User = url.User("postgres")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		pg.b.Fatal(err)
	}
	pg.b.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// socketDir is the folder that clients connect to.
func (pg *faultPostgres) socketDir() string {
	pg.b.Helper()
	u, err := url.Parse(pg.url())
	if err != nil {
		pg.b.Fatal(err)
	}
	return u.Query().Get("host")
}

// postgresVersion asks the tests' own Postgres.
func postgresVersion(b *testing.B) string {
	b.Helper()
	version := query[string](b, connect(b, postgres.New(b)), "SHOW server_version")
	number, _, _ := strings.Cut(version, " ")
	return number
}

// program finds one of Postgres's own programs beside the running server.
func (pg *faultPostgres) program(name string) string {
	pg.b.Helper()
	if dir, err := serverFolder(pg.server.PID()); err == nil {
		return filepath.Join(dir, name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		pg.b.Fatal(err)
	}
	return path
}
