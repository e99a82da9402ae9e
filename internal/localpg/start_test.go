package localpg

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestStart_InitdbKilled(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	h := startHelper(t, dir)
	eventually(t, "initdb at work", func() bool { return len(unfinished(t, dir)) > 0 })
	h.kill(t)
	assertNoData(t, dir)
	startServer(t, dir)
	eventually(t, "what was left is removed", func() bool { return len(unfinished(t, dir)) == 0 })
}

func TestStart_Canceled(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error)
	go func() {
		_, err := Start(ctx, Options{Dir: dir, Settings: quick()})
		result <- err
	}()
	eventually(t, "initdb at work", func() bool { return len(unfinished(t, dir)) > 0 })
	cancel()
	wantError(t, <-result, context.Canceled, "initdb")
	assertNoData(t, dir)
	startServer(t, dir)
}

// unfinished returns what initdb has written outside of the data folder.
func unfinished(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, newDataPrefix+"*", "PG_VERSION"))
	must(t, err)
	return found
}

func assertNoData(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Fatal("initdb was already done")
	}
}

func TestStart_OtherVersion(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	version := filepath.Join(dir, "data", "PG_VERSION")
	must(t, makeDirs(filepath.Dir(version)))
	must(t, os.WriteFile(version, []byte("9.6\n"), 0o600))
	_, err := Start(t.Context(), Options{Dir: dir})
	wantError(t, err, ErrNoBinaries, "written by PostgreSQL 9.6", "found: PostgreSQL")
}

func TestStart_ForeignFolder(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	file := filepath.Join(dir, "data", "holiday.jpg")
	must(t, makeDirs(filepath.Dir(file)))
	must(t, os.WriteFile(file, nil, 0o600))
	_, err := Start(t.Context(), Options{Dir: dir})
	wantError(t, err, nil, "no Postgres data")
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestStart_TellsWhatPostgresSaid(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	_, err := Start(t.Context(), Options{Dir: dir, Settings: map[string]string{"fsync": "off", "wal_level": "nonsense"}})
	wantError(t, err, nil, "ended: exit status 1", `invalid value for parameter "wal_level"`)
	startServer(t, dir)
}

// A folder that root alone can enter is a trap only when Postgres runs as
// somebody else.
func TestStart_UnderPrivateFolder(t *testing.T) {
	t.Parallel()
	private := filepath.Join(newDir(t), "private")
	must(t, makeDirs(private))
	must(t, os.Chmod(private, 0o700))
	dir := filepath.Join(private, "new", "pg")
	s, err := Start(t.Context(), Options{Dir: dir, Settings: quick()})
	if os.Geteuid() == 0 {
		wantError(t, err, os.ErrPermission, "cannot enter "+private+" ")
		must(t, os.Chmod(private, 0o711))
		startServer(t, dir)
		return
	}
	must(t, err)
	stop(t, s)
}

func TestStart_EndsLeftover(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := startServer(t, dir)
	must(t, unlock(s.place.lock)) // as if this process had died
	again := startServer(t, dir)
	waitDone(t, s)
	if s.process.waitErr != nil {
		t.Errorf("no clean shutdown: %v", s.process.waitErr)
	}
	query(t, again.URL(), `SELECT 1`)
}

func TestStart_RefusesServerOfSomebodyElse(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := startServer(t, dir)
	stop(t, s)

	p := s.place
	b, err := installed(os.Getenv).find(t.Context(), "")
	must(t, err)
	byHand := p.command(t.Context(), b, "postgres", "-D", p.data, "-k", p.socketDir, "-c", "listen_addresses=")
	must(t, p.makePrivate(p.socketDir))
	byHand.SysProcAttr = &syscall.SysProcAttr{Credential: p.credential()}
	stderr, err := byHand.StderrPipe()
	must(t, err)
	must(t, byHand.Start())
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	eventually(t, "a server started by hand", func() bool {
		f, err := readPIDFile(p.data)
		return err == nil && f.ready
	})

	_, err = Start(t.Context(), Options{Dir: dir})
	wantError(t, err, ErrInUse, "flowkeep did not start")
	must(t, byHand.Process.Signal(syscall.SIGINT))
	must(t, byHand.Wait())
	startServer(t, dir)
}

func TestStart_StalePIDFile(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := startServer(t, dir)
	stop(t, s)
	// As after a restart of a container: the pid is taken, but by no Postgres.
	stale := strings.Join([]string{strconv.Itoa(os.Getpid()), s.place.data, "1", port, s.place.socketDir, "", "", "ready   ", ""}, "\n")
	path := filepath.Join(s.place.data, "postmaster.pid")
	must(t, os.WriteFile(path, []byte(stale), 0o600))
	must(t, s.place.chown(path))
	again := startServer(t, dir)
	if got := query(t, again.URL(), `SELECT 1`); !slices.Equal(got, []string{"1"}) {
		t.Errorf("got %q", got)
	}
}
