package main

import (
	"context"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"flowkeep/internal/store"
)

// failOver kills a primary under load and promotes its synchronous standby.
// Then the old primary comes back alone, as it was configured, and a flowkeep
// that knows no other must acknowledge nothing on its word.
func failOver(s *scene, f fault) {
	primary, standby := startPair(s.b)
	s.seed = time.Now().UnixNano() // the same traffic comes again later
	s.url = bothHosts(primary, standby)
	s.start()
	s.load()
	s.storesAgain()
	s.under(2 * time.Second)
	primary.kill()
	s.under(time.Second) // until somebody notices
	if _, err := standby.admin().Exec(context.Background(), "SELECT pg_promote()"); err != nil {
		s.b.Fatal(err)
	}
	// The promoted node must not wait for a standby that it does not have. Its
	// synchronous_standby_names is empty, as an operator would have to make it.
	s.storesAgain()
	s.under(2 * time.Second)
	s.postgres = standby
	s.finish()

	if err := s.end(syscall.SIGTERM); err != nil {
		s.b.Error(err)
	}
	primary.start()
	s.fault.name = "old primary back alone"
	oldPrimaryAlone(s, primary, f.lasts)
}

// oldPrimaryAlone sends what the old primary has already, and then news.
func oldPrimaryAlone(s *scene, primary *faultPostgres, lasts time.Duration) {
	s.b.Helper()
	both := s.url
	s.url, s.dataDir = primary.url(), s.b.TempDir()
	s.start()
	s.load()
	s.under(lasts)
	s.stopLoad()
	if c := s.ledger.now(); c.items.Stored+c.items.Duplicate+c.items.Quarantined > 0 || c.items.Spooled == 0 {
		s.b.Errorf("an old primary without its standby acknowledged %+v", c.items)
	}
	// What it spooled reaches the new primary once somebody mends the address.
	if err := s.end(syscall.SIGTERM); err != nil {
		s.b.Error(err)
	}
	primary.kill()
	s.url = both
	s.start()
	s.finish()
}

// startPair starts a primary that waits for its standby at each commit, and the
// standby.
func startPair(b *testing.B) (primary, standby *faultPostgres) {
	b.Helper()
	primary, standby = newFaultPostgres(b), newFaultPostgres(b)
	primary.start()
	if err := store.MigrateUp(context.Background(), primary.url()); err != nil {
		b.Fatal(err)
	}
	copyData(b, primary, standby.dir)
	primary.stop()
	primary.settings = map[string]string{"synchronous_standby_names": "*"}
	primary.start()
	standby.start()
	conn := primary.admin()
	eventually(b, recoverLimit, "the standby is synchronous", func() bool {
		var n int
		err := conn.QueryRow(context.Background(), "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'").Scan(&n)
		return err == nil && n == 1
	})
	return primary, standby
}

// copyData makes the folder of a standby, owned as the primary's is.
func copyData(b *testing.B, primary *faultPostgres, dir string) {
	b.Helper()
	if err := os.Mkdir(dir, 0o711); err != nil {
		b.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	out, err := exec.Command(primary.program("pg_basebackup"), "-h", primary.socketDir(), "-U", "postgres",
		"-D", data, "-R", "-X", "stream", "-c", "fast").CombinedOutput()
	if err != nil {
		b.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	model, err := os.Stat(filepath.Join(primary.dir, "data"))
	if err != nil {
		b.Fatal(err)
	}
	owner := model.Sys().(*syscall.Stat_t)
	err = filepath.WalkDir(data, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
	if err != nil {
		b.Fatal(err)
	}
}

// bothHosts is an address that leads to whichever of the two takes writes.
func bothHosts(primary, standby *faultPostgres) string {
	return "postgres://flowkeep@/flowkeep?" + url.Values{
		"host": {primary.socketDir() + "," + standby.socketDir()}, "port": {"5432,5432"},
		"sslmode": {"disable"}, "target_session_attrs": {"read-write"},
	}.Encode()
}
