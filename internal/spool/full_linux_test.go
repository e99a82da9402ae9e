package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
)

// overflow fills the spool until the disk has no room, and says what is wrong
// with how it takes it. more makes room.
func overflow(s *Spool, more func() error) error {
	ctx := context.Background()
	n := 0
	for ; ; n++ {
		err := s.Append(ctx, []Record{numbered(n, 3000)})
		if errors.Is(err, ErrNoSpace) {
			break
		}
		if err != nil || n > 1e5 {
			return fmt.Errorf("append %d: %w", n, err)
		}
	}
	if s.Stats().Err == nil {
		return errors.New("the stats do not tell")
	}
	for range 20 { // nor does it get worse by trying
		if err := s.Append(ctx, []Record{numbered(0, 300_000)}); !errors.Is(err, ErrNoSpace) {
			return fmt.Errorf("append to a full disk: %w", err)
		}
	}
	if err := holds(s, 0, n); err != nil {
		return fmt.Errorf("when full: %w", err)
	}
	entries, err := s.Oldest(10, 1<<20)
	if err != nil {
		return err
	}
	_ = s.Remove(keys(entries)...) // may fail on disk, and counts all the same
	if err := holds(s, 10, n); err != nil {
		return fmt.Errorf("after removing: %w", err)
	}
	if err := more(); err != nil {
		return err
	}
	if err := s.Append(ctx, []Record{numbered(n, 300_000)}); err != nil {
		return fmt.Errorf("append when there is room again: %w", err)
	}
	if err := s.Stats().Err; err != nil {
		return fmt.Errorf("stats when there is room again: %w", err)
	}
	return holds(s, 10, n+1)
}

// holds says whether the spool has the records from a number up to another,
// and the file is in order.
func holds(s *Spool, from, to int) error {
	entries, err := s.Oldest(1<<30, 1<<30)
	if err != nil {
		return err
	}
	if len(entries) != to-from || s.Stats().Records != to-from || s.Stats().SetAside != 0 {
		return fmt.Errorf("%d records, want %d; stats %+v", len(entries), to-from, s.Stats())
	}
	for i, e := range entries {
		if e.IdempotencyKey != fmt.Sprint(from+i) {
			return fmt.Errorf("record %s in place of %d", e.IdempotencyKey, from+i)
		}
	}
	s.diskMu.Lock()
	defer s.diskMu.Unlock()
	_, err = takeStock(s.disk.path(), s.disk.gone)
	return err
}

// fillUnderLimit is a process that may not write large files.
func fillUnderLimit(dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit)
	low := limit
	low.Cur = 700_000
	s, openErr := Open(dir, Options{Log: zerolog.New(os.Stderr)})
	err = errors.Join(err, openErr, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &low))
	if err == nil {
		err = overflow(s, func() error { return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit) })
	}
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func TestSpool_NoSpaceUnderALimit(t *testing.T) {
	t.Parallel()
	out, err := child(t, "limit", folder(t)).Output()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

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

// A file that can be read and not written, as on a disk that was remounted, can
// still be drained, and once it is empty it is replaced.
func TestSpool_ReadOnlyFile(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := open(t, dir, Options{})
	fill(t, s, 30, 1000)
	closeSpool(t, s)

	var readOnly atomic.Bool
	readOnly.Store(true)
	s = open(t, dir, Options{openFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
		if readOnly.Load() {
			flag = os.O_RDONLY
		}
		return os.OpenFile(name, flag, perm)
	}})
	if err := s.Append(t.Context(), []Record{numbered(99, 1)}); !errors.Is(err, ErrDisk) {
		t.Errorf("got %v, want ErrDisk", err)
	}
	for left := 30; left > 10; left -= 10 {
		entries, err := s.Oldest(10, 1<<20)
		if err != nil || len(entries) != 10 || entries[0].IdempotencyKey != fmt.Sprint(30-left) {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		if err := s.Remove(keys(entries)...); !errors.Is(err, ErrDisk) {
			t.Errorf("got %v, want ErrDisk", err)
		}
	}
	readOnly.Store(false)
	if err := s.Remove(keys(all(t, s))...); err != nil {
		t.Error(err)
	}
	if got := s.Stats(); got.Err != nil || got.Records != 0 {
		t.Errorf("stats: %+v", got)
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
