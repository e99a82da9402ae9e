package localpg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStart_WithDefaults(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), Options{Dir: newDir(t)})
	must(t, err)
	t.Cleanup(func() { stop(t, s) })
	got := query(t, s.URL(), `SELECT unnest(ARRAY[
		current_database(), current_user, current_setting('is_superuser'),
		current_setting('server_encoding'), current_setting('listen_addresses'),
		current_setting('fsync'), current_setting('synchronous_commit'),
		current_setting('timezone'), current_setting('max_connections')])`)
	want := []string{"flowkeep", "flowkeep", "off", "UTF8", "", "on", "on", "UTC", "50"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	query(t, s.URL(), `CREATE DATABASE another`)
	if s.Err() != nil {
		t.Errorf("Err: %v", s.Err())
	}
}

func TestStart_KeepsData(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := startServer(t, dir)
	query(t, s.URL(), `CREATE TABLE kept AS SELECT 'a'`)
	open := connectTo(t, s.URL()) // a client that stays does not hinder Stop
	defer closeConn(open)
	stop(t, s)
	stop(t, s) // twice does no harm
	waitDone(t, s)
	if s.Err() != nil {
		t.Errorf("Err after Stop: %v", s.Err())
	}

	again := startServer(t, dir)
	if got := query(t, again.URL(), `SELECT * FROM kept`); !slices.Equal(got, []string{"a"}) {
		t.Errorf("got %q", got)
	}
	if log := readLog(t, again.LogPath()); strings.Contains(log, "not properly shut down") {
		t.Errorf("Stop was not clean:\n%s", log)
	}
	if log := readLog(t, again.LogPath()+".1"); !strings.Contains(log, "database system is shut down") {
		t.Errorf("no log of the run before:\n%s", log)
	}
}

func TestStart_SettingsWin(t *testing.T) {
	t.Parallel()
	s := startServer(t, newDir(t)) // with quick()
	if got := query(t, s.URL(), `SHOW max_connections`); got[0] != quick()["max_connections"] {
		t.Errorf("got %q", got)
	}
}

func TestStart_InUse(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := startServer(t, dir)
	_, err := Start(t.Context(), Options{Dir: dir})
	wantError(t, err, ErrInUse, fmt.Sprintf("another flowkeep (pid %d) uses %s", os.Getpid(), dir))
	query(t, s.URL(), `SELECT 1`)
}

func TestServer_PsqlCommand(t *testing.T) {
	t.Parallel()
	plain := newDir(t)
	for _, dir := range []string{
		plain,
		filepath.Join(plain, "of My Own's $HOME", "pg"),
		filepath.Join(plain, strings.Repeat("deep/", 30), "pg"),
	} {
		s := startServer(t, dir)
		out, err := exec.CommandContext(t.Context(), "sh", "-c", s.PsqlCommand()+" -Atc 'SELECT current_user'").CombinedOutput()
		if err != nil || string(out) != "flowkeep\n" {
			t.Errorf("%s: %v: %s", s.PsqlCommand(), err, out)
		}
		query(t, s.URL(), `SELECT 1`)
		info, err := os.Stat(s.place.socketDir)
		must(t, err)
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v", s.place.socketDir, info.Mode())
		}
		stop(t, s)
		if _, err := os.Stat(s.place.socketDir); err == nil && filepath.Dir(s.place.socketDir) != s.place.dir {
			t.Errorf("%s is still there", s.place.socketDir)
		}
	}
}

func TestServer_KilledPostgres(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := startServer(t, dir)
	query(t, s.URL(), `CREATE TABLE kept AS SELECT 'a'`)
	open := connectTo(t, s.URL()) // its backend outlives the server for a moment
	defer closeConn(open)
	must(t, syscall.Kill(s.PID(), syscall.SIGKILL))
	waitDone(t, s)
	wantError(t, s.Err(), nil, fmt.Sprint(s.PID()), "killed", "ready to accept connections")
	again := startServer(t, dir)
	if got := query(t, again.URL(), `SELECT * FROM kept`); !slices.Equal(got, []string{"a"}) {
		t.Errorf("got %q", got)
	}
}

func TestServer_StopEscalates(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s, err := Start(t.Context(), Options{Dir: dir, Settings: quick()})
	must(t, err)
	conn := connectTo(t, s.URL())
	defer closeConn(conn)
	var backend int
	_, err = fmt.Sscan(queryOn(t, conn, `SELECT pg_backend_pid()`)[0], &backend)
	must(t, err)
	must(t, syscall.Kill(backend, syscall.SIGSTOP)) // hears no polite request
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	wantError(t, s.Stop(ctx), context.DeadlineExceeded, "cut short")
	if isRunning(s.PID()) || isRunning(backend) {
		t.Error("something still runs")
	}
	startServer(t, dir)
}

func TestServer_DiesWithItsProcess(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	h := startHelper(t, dir)
	pid := h.pid(t)
	h.kill(t)
	s := startServer(t, dir) // at once, while the old one may still be ending
	if isRunning(pid) {
		t.Error("the old server still runs")
	}
	query(t, s.URL(), `SELECT 1`)
}

func TestServer_SurvivesCtrlC(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	h := startHelper(t, dir)
	pid := h.pid(t)
	must(t, syscall.Kill(-h.cmd.Process.Pid, syscall.SIGINT))
	if line := h.line(t); line != "interrupted" {
		t.Fatalf("helper: %s", line)
	}
	socketDir, err := filepath.EvalSymlinks(filepath.Join(dir, "socket"))
	must(t, err)
	query(t, connString(socketDir, role, database), `SELECT 1`)
	if !isRunning(pid) {
		t.Error("the server has ended")
	}
	must(t, h.stdin.Close())
	must(t, h.cmd.Wait())
	if isRunning(pid) {
		t.Error("the server still runs after Stop")
	}
}
