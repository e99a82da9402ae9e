package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

func TestSpool_KeepsRecordsInOrderOverARestart(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := open(t, dir, Options{})
	want := []Record{
		numbered(0, 2000),
		{ReceivedAt: time.Unix(0, 0).UTC(), Body: []byte{}},
		numbered(2, 3<<20),
		{ReceivedAt: time.Time{}, Source: "meta", Body: []byte(recordStart)},
	}
	appendTo(t, s, want[:2]...)
	appendTo(t, s, want[2:]...)
	same(t, "records", normal(recordsOf(all(t, s))), normal(want))
	before := s.Stats()
	inOrder(t, s)
	closeSpool(t, s)

	s = open(t, dir, Options{})
	same(t, "records after restart", normal(recordsOf(all(t, s))), normal(want))
	same(t, "stats after restart", s.Stats(), before)
	if before.Records != 4 || !before.OldestAt.Equal(want[0].ReceivedAt) || before.Bytes < 3<<20 {
		t.Errorf("stats: %+v", before)
	}
}

// normal makes an empty body and none the same.
func normal(rs []Record) []Record {
	out := append([]Record(nil), rs...)
	for i := range out {
		if len(out[i].Body) == 0 {
			out[i].Body = nil
		}
	}
	return out
}

func TestSpool_FolderIsPrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(folder(t), "deeper")
	open(t, dir, Options{})
	for name, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, fileName): 0o600} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %o, want %o", name, got, want)
		}
	}
}

func TestSpool_Oldest_IsBounded(t *testing.T) {
	t.Parallel()
	s := open(t, folder(t), Options{})
	fill(t, s, 10, 1000)
	for _, c := range []struct{ n, bytes, want int }{
		{0, 1 << 20, 0},
		{3, 1 << 20, 3},
		{100, 1 << 20, 10},
		{100, 2500, 2},
		{100, 1, 1}, // never stuck behind a large one
	} {
		got, err := s.Oldest(c.n, c.bytes)
		if err != nil || len(got) != c.want {
			t.Errorf("Oldest(%d, %d) = %d records, %v; want %d", c.n, c.bytes, len(got), err, c.want)
		}
	}
}

func TestSpool_Remove(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := open(t, dir, Options{})
	fill(t, s, 10, 500)
	entries := all(t, s)
	drop := []uint64{entries[0].Key, entries[1].Key, entries[4].Key, entries[4].Key, 12345}
	if err := s.Remove(drop...); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(drop...); err != nil {
		t.Fatal(err)
	}
	want := append(append([]Entry(nil), entries[2:4]...), entries[5:]...)
	same(t, "left", all(t, s), want)
	if got := s.Stats(); got.Records != 7 || !got.OldestAt.Equal(entries[2].ReceivedAt) {
		t.Errorf("stats: %+v", got)
	}
	inOrder(t, s)
	closeSpool(t, s)
	s = open(t, dir, Options{})
	same(t, "left after restart", all(t, s), want)
	if err := s.Remove(keys(want)...); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats(); got.Records != 0 || got.Bytes != 0 || !got.OldestAt.IsZero() {
		t.Errorf("stats when empty: %+v", got)
	}
}

func TestSpool_FullTakesAllOrNone(t *testing.T) {
	t.Parallel()
	s := open(t, folder(t), Options{MaxBytes: 10_000})
	appendTo(t, s, numbered(0, 4000), numbered(1, 4000))
	err := s.Append(t.Context(), []Record{numbered(2, 500), numbered(3, 4000)})
	if !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	appendTo(t, s, numbered(4, 500))
	if got := len(all(t, s)); got != 3 {
		t.Errorf("%d records, want 3", got)
	}
	if err := s.Remove(all(t, s)[0].Key); err != nil {
		t.Fatal(err)
	}
	appendTo(t, s, numbered(5, 4000))
	inOrder(t, s)
}

func TestDisk_FileIsBounded(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := open(t, dir, Options{})
	fill(t, s, 3, 1000)
	want := all(t, s)
	s.diskMu.Lock()
	s.disk.db.MaxSize = 1 << 20
	err := s.disk.update(func(b *bolt.Bucket) error { return b.Put(diskKey(1<<62), make([]byte, 2<<20)) })
	s.diskMu.Unlock()
	if !errors.Is(err, ErrFull) || fileSize(t, dir) > 1<<20 {
		t.Errorf("got %v, want ErrFull; file of %d bytes", err, fileSize(t, dir))
	}
	same(t, "records", all(t, s), want)
	inOrder(t, s)
	appendTo(t, s, numbered(4, 2<<20)) // to which other bounds apply
}

func TestSpool_FileShrinksWhenEmptyAndKeysGoOn(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := open(t, dir, Options{})
	fill(t, s, 24, 500_000)
	entries := all(t, s)
	grown := fileSize(t, dir)
	if err := s.Remove(keys(entries)...); err != nil {
		t.Fatal(err)
	}
	if got := fileSize(t, dir); grown <= startOverBytes || got >= 1<<20 {
		t.Errorf("file had %d bytes, and empty has %d", grown, got)
	}
	appendTo(t, s, numbered(7, 10))
	if err := s.Remove(keys(entries)...); err != nil { // late, of records that are long gone
		t.Fatal(err)
	}
	if got := all(t, s); len(got) != 1 || got[0].Key <= entries[len(entries)-1].Key {
		t.Errorf("%d records, first %d after %d", len(got), got[0].Key, entries[len(entries)-1].Key)
	}
	inOrder(t, s)
}

func TestOpen_ShrinksAnEmptyFile(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := open(t, dir, Options{})
	fill(t, s, 24, 500_000)
	s.diskMu.Lock()
	_, err := s.disk.forget(keysOf(&s.disk))
	err = errors.Join(err, s.disk.sweep())
	s.diskMu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	closeSpool(t, s)
	if got := fileSize(t, dir); got <= startOverBytes {
		t.Fatalf("file has %d bytes, too few for this test", got)
	}
	open(t, dir, Options{})
	if got := fileSize(t, dir); got >= 1<<20 {
		t.Errorf("empty file has %d bytes", got)
	}
}

func keysOf(d *disk) (ks []uint64) {
	_ = d.each(func(key uint64, _ []byte) (bool, error) {
		ks = append(ks, key)
		return true, nil
	})
	return ks
}

func fileSize(t testing.TB, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestOpen_RefusesAFolderInUse(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := open(t, dir, Options{})
	_, err := Open(dir, Options{Log: log(t)})
	if !errors.Is(err, ErrInUse) || !errorNames(err, dir) {
		t.Errorf("got %v, want ErrInUse that names %s", err, dir)
	}
	closeSpool(t, s)
	open(t, dir, Options{})
}

func TestSpool_Closed(t *testing.T) {
	t.Parallel()
	s := open(t, folder(t), Options{})
	closeSpool(t, s)
	_, oldestErr := s.Oldest(1, 1)
	for what, err := range map[string]error{
		"Append": s.Append(t.Context(), []Record{numbered(0, 1)}),
		"Oldest": oldestErr,
		"Remove": s.Remove(1),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", what, err)
		}
	}
}

func TestSpool_CloseCommitsWhatIsQueued(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := open(t, dir, Options{})
	s.diskMu.Lock() // the disk is slow
	var jobs []*job
	var admitErrs error
	for i := range 20 {
		r := numbered(i, 100)
		b, err := encode(&r)
		j := &job{encoded: [][]byte{b}, bytes: int64(len(b)), done: make(chan struct{})}
		admitErrs = errors.Join(admitErrs, err, s.admit(j))
		jobs = append(jobs, j)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	s.diskMu.Unlock()
	if err := errors.Join(admitErrs, <-closed); err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs {
		<-j.done
		if j.err != nil {
			t.Error(j.err)
		}
	}
	if got := len(all(t, open(t, dir, Options{}))); got != 20 {
		t.Errorf("%d records, want 20", got)
	}
}

func TestAppend_QueueIsBoundedAndContextEndsTheWait(t *testing.T) {
	t.Parallel()
	s := open(t, folder(t), Options{})
	s.queueMax = 64 << 10
	ctx, cancel := context.WithCancel(t.Context())
	s.diskMu.Lock()
	var appends sync.WaitGroup
	errs := make(chan error, 20)
	large := numbered(1, 16<<10)
	for range 20 {
		appends.Go(func() { errs <- s.Append(ctx, []Record{large}) })
	}
	for range 10 { // 3 wait, and the committer has as many at most
		if err := <-errs; !errors.Is(err, ErrQueueFull) {
			t.Errorf("got %v, want ErrQueueFull", err)
		}
	}
	cancel()
	appends.Wait()
	s.diskMu.Unlock()
	close(errs)
	for err := range errs {
		if !errors.Is(err, context.Canceled) && !errors.Is(err, ErrQueueFull) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	}
	if err := s.Append(ctx, []Record{large}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestSpool_ManyAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t, folder(t), Options{})
	const writers, each = 16, 25
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			for i := range each {
				if err := s.Append(t.Context(), []Record{numbered(w*each+i, 300)}); err != nil {
					t.Error(err)
				}
				_ = s.Stats()
			}
		})
	}
	seen := make(map[string]bool)
	waitFor(t, func() bool {
		entries, err := s.Oldest(50, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if seen[e.IdempotencyKey] {
				t.Errorf("record %s came twice", e.IdempotencyKey)
			}
			seen[e.IdempotencyKey] = true
		}
		if err := s.Remove(keys(entries)...); err != nil {
			t.Fatal(err)
		}
		return len(seen) == writers*each
	})
	work.Wait()
	inOrder(t, s)
	same(t, "left", fmt.Sprint(s.Stats().Records, s.Stats().Bytes), "0 0")
}

// waitFor polls until ok, which must come to pass.
func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not come to pass")
		}
	}
}
