package localpg

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// place is the folder of one server, locked for as long as the place is open.
//
//	lock           held by the process that has the server, with its pid
//	data/          what Postgres calls its data directory
//	data.new-*/    one that is being made, or whose making was interrupted
//	postgres.log   the server's log; postgres.log.1 is the one before
//	socket/        unless the path is too long for a socket: see socketDirFor
type place struct {
	dir, data, log, socketDir string

	account *account // whom Postgres runs as; nil means as ourselves
	lock    *os.File
}

// openPlace makes the folder if it is missing, and locks it.
func openPlace(dir string) (*place, error) {
	if dir == "" {
		return nil, errors.New("no folder given")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("resolve folder: %w", err)
	}
	if err := makeDirs(dir); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("resolve folder: %w", err)
	}
	p := &place{dir: dir, data: filepath.Join(dir, "data"), log: filepath.Join(dir, "postgres.log")}
	if p.account, err = serverAccount(p.data); err != nil {
		return nil, err
	}
	if err := p.admitAccount(); err != nil {
		return nil, err
	}
	if p.lock, err = lockFile(filepath.Join(dir, "lock")); err != nil {
		return nil, err
	}
	p.socketDir = socketDirFor(dir, os.TempDir(), p.uid())
	if err := p.makePrivate(p.socketDir); err != nil {
		p.close()
		return nil, fmt.Errorf("make socket folder: %w", err)
	}
	return p, nil
}

// close gives the folder free. A socket folder outside of it is removed.
func (p *place) close() {
	if filepath.Dir(p.socketDir) != p.dir {
		_ = os.Remove(p.socketDir) // fails if a socket is in it, as it should
	}
	_ = unlock(p.lock) // nothing was written that could fail late
}

// unlock gives the lock back and closes its file. Closing alone would leave it
// to a child process that is just being started and has not yet closed what it
// inherited.
func unlock(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

// uid is the user id that Postgres runs under.
func (p *place) uid() int {
	if p.account != nil {
		return int(p.account.uid)
	}
	return os.Geteuid()
}

// makeDirs is os.MkdirAll whose new folders are for us alone, or, if Postgres
// is to run as another user, can be crossed but not listed.
func makeDirs(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(dir, mode) // whatever the umask says
}

// lockFile takes the lock that only one process can have, and that the kernel
// gives back when the process dies.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		err = fmt.Errorf("%w: another flowkeep%s uses %s", ErrInUse, holder(f), filepath.Dir(path))
	case err != nil:
		err = fmt.Errorf("lock %s: %w", path, err)
	default:
		err = writePID(f)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("write pid: %w", err)
	}
	if _, err := f.WriteString(strconv.Itoa(os.Getpid()) + "\n"); err != nil {
		return fmt.Errorf("write pid: %w", err)
	}
	return nil
}

// holder is " (pid N)", or nothing if the holder has not yet written it.
func holder(f *os.File) string {
	text, err := io.ReadAll(io.LimitReader(f, 32))
	pid, convErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || convErr != nil {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", pid)
}

// maxSocketPath is what fits into sockaddr_un: 103 bytes on the BSDs and
// macOS, 107 on Linux.
const maxSocketPath = 103

// socketDirFor returns the folder for the socket of the server in dir: inside
// dir, unless that is too long for a socket or would need quotes in a shell;
// then one under temp, always the same for the same dir and user.
func socketDirFor(dir, temp string, uid int) string {
	fits := func(socketDir string) bool {
		return isPlain(socketDir) && len(socketDir)+len("/.s.PGSQL."+port) <= maxSocketPath
	}
	if inside := filepath.Join(dir, "socket"); fits(inside) {
		return inside
	}
	sum := sha256.Sum256([]byte(dir + "\x00" + strconv.Itoa(uid)))
	name := "flowkeep-" + hex.EncodeToString(sum[:8])
	if outside := filepath.Join(temp, name); fits(outside) {
		return outside
	}
	return filepath.Join("/tmp", name)
}

// isPlain says that a shell takes path as it is written. It also keeps out
// the comma, which separates hosts for libpq and folders for Postgres.
func isPlain(path string) bool {
	return regexp.MustCompile(`^/[A-Za-z0-9/._-]+$`).MatchString(path)
}

// makePrivate makes a folder that only the server's user can enter. One that
// is there already must be just that: in a shared temp folder, anybody could
// have put it there.
func (p *place) makePrivate(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	// A folder of root's is ours: made now, or by a start that was interrupted here.
	if p.account != nil && info.IsDir() && ownerOf(info) == 0 {
		if err := p.chown(dir); err != nil {
			return err
		}
		if info, err = os.Lstat(dir); err != nil {
			return err
		}
	}
	if !info.IsDir() || ownerOf(info) != p.uid() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is not a folder that only user %d can enter; remove it", dir, p.uid())
	}
	return nil
}
