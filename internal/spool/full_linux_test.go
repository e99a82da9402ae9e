package spool

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// smallDisk mounts a file system of that size. Where that is not allowed, the
// test of the limit has to do for this one too.
func smallDisk(t *testing.T, options string) (string, bool) {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, options); err != nil {
		t.Logf("cannot mount, the file size limit stands in for a full disk: %v", err)
		return "", false
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir, true
}

func TestSpool_FullDisk(t *testing.T) {
	t.Parallel()
	disk, ok := smallDisk(t, "size=4m")
	if !ok {
		return
	}
	stuff := filepath.Join(disk, "stuff")
	if err := os.WriteFile(stuff, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(disk, "spool")
	s := open(t, dir, Options{})
	if err := overflow(s, func() error { return os.Remove(stuff) }); err != nil {
		t.Fatal(err)
	}
	entries := all(t, s)
	fillDisk(t, stuff)
	for i := 0; i < len(entries); i += 50 { // as a drain would
		_ = s.Remove(keys(entries[i:min(i+50, len(entries))])...)
	}
	if got := s.Stats(); got.Records != 0 || got.Err != nil || fileSize(t, dir) > startOverBytes {
		t.Errorf("drained on a full disk: %+v, file of %d bytes", got, fileSize(t, dir))
	}
	usable(t, s)
}

// fillDisk takes all the room that there is.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 16; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpen_FullDisk(t *testing.T) {
	t.Parallel()
	disk, ok := smallDisk(t, "size=1m")
	if !ok {
		return
	}
	dir := filepath.Join(disk, "spool")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, lockName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	damagedFile, live, ever := sample(t)
	damagedFile = damagedFile[:len(damagedFile)-1]
	clear(damagedFile[:4096])
	if err := os.WriteFile(filepath.Join(dir, fileName), damagedFile, 0o600); err != nil {
		t.Fatal(err)
	}
	stuff := filepath.Join(disk, "stuff")
	fillDisk(t, stuff)
	s := open(t, dir, Options{})
	if err := s.Stats().Err; !errors.Is(err, ErrNoSpace) {
		t.Errorf("stats: %v, want ErrNoSpace", err)
	}
	if err := s.Append(t.Context(), []Record{numbered(0, 1)}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("got %v, want ErrNoSpace", err)
	}
	if err := os.Remove(stuff); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { _, err := s.Oldest(1, 1); return err == nil })
	if n := missing(t, all(t, s), live, ever); n != 0 {
		t.Errorf("%d records lost", n)
	}
	usable(t, s)
}

func TestOpen_ReadOnlyFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	err := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its odd user
		if os.Geteuid() == 0 { // to whom everything is writable
			if e := syscall.Setfsuid(65534); e != nil {
				err <- e
				return
			}
		}
		_, e := Open(filepath.Join(dir, "spool"), Options{})
		err <- e
	}()
	if got := <-err; !errors.Is(got, ErrDisk) || !strings.Contains(got.Error(), dir) {
		t.Errorf("got %v, want ErrDisk that names the folder", got)
	}
}
