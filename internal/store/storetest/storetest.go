// Package storetest gives each test a fresh, migrated database on a real
// Postgres. It never skips: where no Postgres can be had, the tests fail and
// say why. No binary may import it.
package storetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/localpg"
	"flowkeep/internal/store"
	"flowkeep/migrations"
)

// Server is one Postgres for the tests of a package.
type Server struct {
	admin    string // connection string that may create databases
	template func() (string, error)
}

// Run runs a package's tests with a Postgres: the one at TEST_DATABASE_URL,
// else one of its own. That runs in a container where a Docker engine has the
// image POSTGRES_IMAGE (default postgres:17-alpine) or can pull it, else from
// the installed binaries; TEST_POSTGRES=docker or =installed leaves no choice.
// Run returns the exit code. use is called before the tests, to hand them the
// Server.
func Run(m *testing.M, use func(*Server)) int {
	s := &Server{admin: os.Getenv("TEST_DATABASE_URL")}
	if s.admin == "" {
		stop, err := s.start(os.Getenv("TEST_POSTGRES"))
		if err != nil {
			fmt.Fprintf(os.Stderr, "tests need a Postgres: %v\nset TEST_DATABASE_URL, start Docker, or run scripts/ensure-postgres.sh\n", err)
			return 1
		}
		defer stop()
	}
	s.template = sync.OnceValues(s.makeTemplate)
	use(s)
	return m.Run()
}

// start runs a Postgres of the wanted kind; of any, the container first, if
// kind is empty.
func (s *Server) start(kind string) (stop func(), err error) {
	switch kind {
	case "docker":
		return s.startContainer()
	case "installed":
		return s.startInstalled()
	case "":
		stop, noContainer := s.startContainer()
		if noContainer == nil {
			return stop, nil
		}
		if stop, err = s.startInstalled(); err != nil {
			err = errors.Join(noContainer, err)
		}
		return stop, err
	}
	return nil, fmt.Errorf("TEST_POSTGRES is %q; it can be docker or installed", kind)
}

// settings are Postgres's for tests: a crash of the machine may lose them.
func settings() map[string]string {
	return map[string]string{"fsync": "off", "max_connections": "300"}
}

func (s *Server) startInstalled() (stop func(), err error) {
	dir, err := os.MkdirTemp("", "flowkeep-test-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // Postgres runs under another user and must pass
		return nil, err
	}
	ctx := context.Background()
	pg, err := localpg.Start(ctx, localpg.Options{Dir: filepath.Join(dir, "postgres"), Settings: settings()})
	if err != nil {
		return nil, err
	}
	s.admin = pg.URL()
	return func() {
		if err := pg.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		_ = os.RemoveAll(dir) // a test folder left behind harms nobody
	}, nil
}

// New returns the connection string of a fresh database at the newest schema.
// It is dropped after the test, unless the test failed on TEST_DATABASE_URL.
func (s *Server) New(t testing.TB) string {
	t.Helper()
	template, err := s.template()
	if err != nil {
		t.Fatalf("make template database: %v", err)
	}
	return s.create(t, "TEMPLATE "+template)
}

// NewEmpty is like New, without a schema.
func (s *Server) NewEmpty(t testing.TB) string {
	t.Helper()
	return s.create(t, "TEMPLATE template0 ENCODING 'UTF8'")
}

// NewLatin is like NewEmpty, in an encoding that flowkeep must refuse.
func (s *Server) NewLatin(t testing.TB) string {
	t.Helper()
	return s.create(t, "TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
}

func (s *Server) create(t testing.TB, how string) string {
	t.Helper()
	name := "flowkeep_test_" + randomName()
	if err := s.exec("CREATE DATABASE " + name + " " + how); err != nil {
		t.Fatalf("create test database: %v", err)
	}
	address := s.database(name)
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("TEST_DATABASE_URL") != "" {
			t.Logf("the test's database is kept: %s", name)
			return
		}
		if err := s.exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	return address
}

// makeTemplate migrates a database once for each state of the migrations, so
// that a test's own is a copy. Several packages may come at the same time.
func (s *Server) makeTemplate() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	hash, err := migrationsHash()
	if err != nil {
		return "", err
	}
	name := "flowkeep_template_" + hash
	conn, err := pgx.Connect(ctx, s.admin)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext('flowkeep template'))"); err != nil {
		return "", err
	}
	var ready bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&ready)
	if err != nil || ready {
		return name, err
	}
	draft := name + "_draft" // renamed when whole, so that a crash leaves no half template
	if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+draft+" WITH (FORCE)"); err != nil {
		return "", err
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+draft+" TEMPLATE template0 ENCODING 'UTF8'"); err != nil {
		return "", err
	}
	if err := store.MigrateUp(ctx, s.database(draft)); err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, "ALTER DATABASE "+draft+" RENAME TO "+name)
	return name, err
}

func migrationsHash() (string, error) {
	sum := sha256.New()
	files, err := fs.Glob(migrations.Files, "*.sql")
	if err != nil {
		return "", err
	}
	for _, f := range files {
		text, err := fs.ReadFile(migrations.Files, f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", f, len(text), text)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

func (s *Server) exec(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.admin)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

// database returns the admin's connection string for another database.
func (s *Server) database(name string) string {
	u, err := url.Parse(s.admin)
	if err != nil || u.Scheme == "" {
		return s.admin + " dbname=" + name // keyword form: the last one wins
	}
	u.Path = "/" + name
	return u.String()
}

func randomName() string {
	var bits [8]byte
	_, _ = rand.Read(bits[:]) // crypto/rand never fails
	return hex.EncodeToString(bits[:])
}
