// Package localpg runs a private Postgres: for a start with no configuration,
// and for tests.
//
// The server listens on a Unix socket in a folder that only its owner can
// enter, never on the network, and lets in whoever gets that far without a
// password. It lives no longer than the process that started it: after a
// kill -9 of that process Linux shuts Postgres down at once, and elsewhere the
// next Start on the same folder ends what it finds. Nothing committed is lost
// either way.
//
// Postgres refuses to run as root. When the caller is root, Postgres runs as
// the owner of an existing data folder, else as the user postgres, else as
// nobody; that user must be able to enter the folders above Options.Dir (mode
// 0711 is enough), so Start sees to those that it makes itself.
package localpg

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	// ErrNoBinaries says that no PostgreSQL server that could run the folder
	// is installed. The message around it says what to install.
	ErrNoBinaries = errors.New("no fitting PostgreSQL server is installed")

	// ErrInUse says that another process has a server on the folder.
	ErrInUse = errors.New("data folder in use")
)

const (
	database  = "flowkeep"
	role      = "flowkeep"
	superuser = "postgres"
	port      = "5432" // only names the socket: nothing listens on TCP

	startLimit = 5 * time.Minute // crash recovery of a busy server may take a while

	maxLogBytes      = 16 << 20
	logCheckInterval = time.Minute
)

// Options says where the server lives and how it is set.
type Options struct {
	// Dir is a folder of the server's own. It is made if it is missing, and a
	// later start on it finds the data again.
	Dir string

	// Settings are further Postgres settings by name (fsync, max_connections).
	// They win over the defaults of this package, but not over what it relies
	// on: the socket, the port and cluster_name.
	Settings map[string]string
}

// Server is a running Postgres. Its methods may be called from any goroutine.
type Server struct {
	place    *place
	process  *process
	psql     string
	stopping atomic.Bool
	done     chan struct{}
	err      error // read after done
}

// Start returns when the server accepts connections and its database exists.
// ctx bounds the start alone: the server runs until Stop.
//
// The error is ErrNoBinaries if Postgres is not installed, or not in the
// version that wrote the folder; ErrInUse if another process has the folder;
// ctx's own if it ended first. Otherwise it carries the end of what Postgres
// had to say.
func Start(ctx context.Context, o Options) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	s, err := start(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start a private Postgres in %s: %w", o.Dir, err)
	}
	return s, nil
}

func start(ctx context.Context, o Options) (*Server, error) {
	p, err := openPlace(o.Dir)
	if err != nil {
		return nil, err
	}
	b, proc, err := run(ctx, p, o.Settings)
	if err != nil {
		p.close()
		return nil, err
	}
	s := &Server{place: p, process: proc, psql: b.psql(), done: make(chan struct{})}
	go s.watch()
	return s, nil
}

// run brings the data folder up to a server that answers.
func run(ctx context.Context, p *place, settings map[string]string) (binaries, *process, error) {
	major, err := p.dataVersion()
	if err != nil {
		return binaries{}, nil, err
	}
	b, err := installed(os.Getenv).find(ctx, major)
	if err != nil {
		return b, nil, err
	}
	if major == "" {
		err = p.initialize(ctx, b, settings["fsync"] == "off")
	} else {
		err = p.endLeftover(ctx)
	}
	if err != nil {
		return b, nil, err
	}
	proc, err := p.launch(ctx, b, settings)
	if err != nil {
		return b, nil, err
	}
	if err := createDatabase(ctx, p.socketDir); err != nil {
		proc.abort()
		return b, nil, err
	}
	return b, proc, nil
}

// watch ends the Server when Postgres has ended, and keeps its log short.
func (s *Server) watch() {
	tick := time.NewTicker(logCheckInterval)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-s.process.ended:
			running = false
		case <-tick.C:
			// A log that cannot be cut is no reason to stop a database.
			_ = trimLog(s.place.log, maxLogBytes)
		}
	}
	if s.process.waitErr != nil || !s.stopping.Load() {
		s.err = s.process.obituary()
	}
	s.place.close()
	close(s.done)
}

// URL returns a pgx connection string for the database flowkeep as the role
// flowkeep, which owns it, may create further databases, and is no superuser
// (that is the role postgres, on the same socket).
func (s *Server) URL() string {
	return connString(s.place.socketDir, role, database)
}

func connString(socketDir, user, db string) string {
	u := url.URL{
		Scheme: "postgres",
		User:   url.User(user),
		Path:   "/" + db,
		RawQuery: url.Values{
			"host":    {socketDir},
			"port":    {port},
			"sslmode": {"disable"},
		}.Encode(),
	}
	return u.String()
}

// PsqlCommand returns a line for a shell that opens psql on the database. It
// needs no quotes, and works for the user that runs this process.
func (s *Server) PsqlCommand() string {
	return fmt.Sprintf("%s -h %s -p %s -U %s %s", s.psql, s.place.socketDir, port, role, database)
}

// LogPath returns the server's own log file. The log of the start before is
// beside it, with the suffix .1.
func (s *Server) LogPath() string { return s.place.log }

// PID returns the process id of the Postgres server.
func (s *Server) PID() int { return s.process.pid() }

// Done returns a channel that is closed when Postgres has ended, by Stop or by
// itself. The folder is free for another Start by then.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err returns nil while the server runs and after a clean Stop, else why it
// ended.
func (s *Server) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Stop cuts all connections, shuts Postgres down cleanly and waits for its
// end. If ctx ends first, Postgres is stopped without its last checkpoint,
// and then by force; the next start recovers, and the error is ctx's. Nothing
// is left running when Stop returns. To stop a stopped server does nothing.
func (s *Server) Stop(ctx context.Context) error {
	select {
	case <-s.done:
		return nil
	default:
	}
	s.stopping.Store(true)
	s.process.signal(syscall.SIGINT)
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
	}
	s.process.abort()
	<-s.done
	return fmt.Errorf("stop the private Postgres: clean shutdown cut short: %w", ctx.Err())
}

// psql returns the client to print: by its name where the shell finds it.
func (b binaries) psql() string {
	if _, err := exec.LookPath("psql"); err == nil {
		return "psql"
	}
	own := filepath.Join(b.dir, "psql")
	if isExecutable(own) && isPlain(own) {
		return own
	}
	return "psql"
}
