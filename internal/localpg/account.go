package localpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user that Postgres runs as when we are root.
type account struct {
	name     string
	uid, gid uint32
}

// serverAccount returns nil unless we are root. An existing data folder
// belongs to whoever started it first, and stays theirs.
func serverAccount(data string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // no account is an answer
	}
	if info, err := os.Stat(data); err == nil && ownerOf(info) != 0 {
		stat := info.Sys().(*syscall.Stat_t)
		return &account{name: fmt.Sprintf("of id %d", stat.Uid), uid: stat.Uid, gid: stat.Gid}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("look up user %s: %w", name, err)
		}
		return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return nil, errors.New("there is no user postgres or nobody to run Postgres as, which refuses to run as root")
}

// credential is how a process becomes the account; nil means it stays as we are.
func (p *place) credential() *syscall.Credential {
	if p.account == nil {
		return nil
	}
	return &syscall.Credential{Uid: p.account.uid, Gid: p.account.gid, Groups: []uint32{p.account.gid}}
}

// chown gives a folder to the server's user.
func (p *place) chown(path string) error {
	if p.account == nil {
		return nil
	}
	return os.Lchown(path, int(p.account.uid), int(p.account.gid))
}

// admitAccount lets the account into a folder of root's; into it, not to list it.
func (p *place) admitAccount() error {
	if p.account == nil {
		return nil
	}
	info, err := os.Stat(p.dir)
	if err != nil {
		return fmt.Errorf("check folder: %w", err)
	}
	if ownerOf(info) != 0 || info.Mode().Perm()&0o011 == 0o011 {
		return nil
	}
	if err := os.Chmod(p.dir, info.Mode().Perm()|0o011); err != nil {
		return fmt.Errorf("let user %s enter the folder: %w", p.account.name, err)
	}
	return nil
}

// explain adds to a refused permission which folder the account cannot enter:
// the error of a process that could not be started names only the program.
func (p *place) explain(err error, program string) error {
	if p.account == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	for _, path := range []string{p.dir, program} {
		if closed := p.account.firstClosed(path); closed != "" {
			return fmt.Errorf("run as user %s, who cannot enter %s (try chmod 711 on it, or another folder): %w",
				p.account.name, closed, err)
		}
	}
	return err
}

// firstClosed returns the topmost part of path that the account has no right
// to enter or execute, or "".
func (a *account) firstClosed(path string) string {
	if parent := filepath.Dir(path); parent != path {
		if closed := a.firstClosed(parent); closed != "" {
			return closed
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	stat := info.Sys().(*syscall.Stat_t)
	bit := fs.FileMode(0o001)
	switch {
	case stat.Uid == a.uid:
		bit = 0o100
	case stat.Gid == a.gid:
		bit = 0o010
	}
	if info.Mode().Perm()&bit != 0 {
		return ""
	}
	return path
}

func ownerOf(info fs.FileInfo) int {
	return int(info.Sys().(*syscall.Stat_t).Uid)
}
