package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const newDataPrefix = "data.new-"

// dataVersion returns the major version that wrote the data folder, or "" if
// there is none yet.
func (p *place) dataVersion() (string, error) {
	text, err := os.ReadFile(filepath.Join(p.data, "PG_VERSION"))
	if err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the data folder's version: %w", err)
	}
	// initialize puts a finished folder there or none: another is not ours to touch.
	if _, err := os.Lstat(p.data); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s holds no Postgres data (no PG_VERSION in it); move it away", p.data)
	}
	return "", nil
}

// initialize makes the data folder. It appears under its name only when it is
// complete and on disk, so that a start may be interrupted anywhere.
func (p *place) initialize(ctx context.Context, b binaries, noSync bool) error {
	p.removeUnfinished()
	fresh, err := os.MkdirTemp(p.dir, newDataPrefix)
	if err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	err = p.chown(fresh)
	if err == nil {
		err = p.initdb(ctx, b, fresh, noSync)
	}
	if err == nil {
		err = os.Rename(fresh, p.data)
	}
	if err != nil {
		_ = os.RemoveAll(fresh) // after a full disk, to give the room back
		return fmt.Errorf("make data folder: %w", err)
	}
	if err := syncDir(p.dir); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	return nil
}

// removeUnfinished clears away what interrupted starts left. We hold the lock
// and there is no data folder, so nobody can want them; what cannot be removed
// now is in nobody's way.
func (p *place) removeUnfinished() {
	left, err := filepath.Glob(filepath.Join(p.dir, newDataPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range left {
		_ = os.RemoveAll(dir)
	}
}

func (p *place) initdb(ctx context.Context, b binaries, dir string, noSync bool) error {
	args := []string{
		"--pgdata=" + dir,
		"--username=" + superuser,
		"--encoding=UTF8",
		"--no-locale", // the one locale that every system has
		"--auth-local=trust",
		"--auth-host=reject",
		"--data-checksums",
	}
	if noSync {
		args = append(args, "--no-sync")
	}
	cmd := p.command(ctx, b, "initdb", args...)
	cmd.SysProcAttr = p.attributes(syscall.SIGKILL) // half a folder is worth nothing
	cmd.WaitDelay = time.Second                     // its children may hold on to the output

	// The signal at our death follows the thread that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("initdb: %w", ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("initdb: %w%s", p.explain(err, cmd.Path), lastLines(string(out)))
	}
	return nil
}

// syncDir makes a rename in dir survive a power cut.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}
