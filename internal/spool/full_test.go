package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
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
		fmt.Fprintln(os.Stdout, err)
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
