package spool

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

// childEnv makes the test binary play another process; its value says which.
const childEnv = "SPOOL_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		goleak.VerifyTestMain(m)
	case "append":
		appendForEver("spool")
	case "limit":
		fillUnderLimit("spool")
	default:
		os.Exit(2)
	}
}

// log is the test's log, so that what the spool says is seen when a test fails.
func log(t testing.TB) zerolog.Logger {
	t.Helper()
	return zerolog.New(zerolog.NewTestWriter(t))
}

func open(t testing.TB, dir string, o Options) *Spool {
	t.Helper()
	o.Log = log(t)
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeSpool(t, s) })
	return s
}

func closeSpool(t testing.TB, s *Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// folder is a place for a spool that does not exist yet.
func folder(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "spool")
}

// fastFolder is a folder in memory where there is such a thing, for tests that
// would otherwise spend their time syncing. What a process wrote outlives it
// there too.
func fastFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "spool")
	if err != nil {
		return folder(t)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "spool")
}

// numbered returns the record of that number, with size bytes of a body that
// nothing compresses.
func numbered(i, size int) Record {
	body := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), byte(i >> 16)})
	_, _ = r.Read(body)
	return Record{
		ReceivedAt:     time.Date(2026, 1, 2, 3, 4, 5, i, time.UTC),
		Source:         "kapso",
		Event:          "whatsapp.message.received",
		IdempotencyKey: fmt.Sprint(i),
		Body:           body,
	}
}

func appendTo(t testing.TB, s *Spool, records ...Record) {
	t.Helper()
	if err := s.Append(context.Background(), records); err != nil {
		t.Fatal(err)
	}
}

// fill appends n records of that size, one commit each.
func fill(t testing.TB, s *Spool, n, size int) {
	t.Helper()
	for i := range n {
		appendTo(t, s, numbered(i, size))
	}
}

// all returns everything in the spool.
func all(t testing.TB, s *Spool) []Entry {
	t.Helper()
	entries, err := s.Oldest(1<<30, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func keys(entries []Entry) []uint64 {
	var ks []uint64
	for _, e := range entries {
		ks = append(ks, e.Key)
	}
	return ks
}

func recordsOf(entries []Entry) []Record {
	var rs []Record
	for _, e := range entries {
		rs = append(rs, e.Record)
	}
	return rs
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) { // cmp takes long, and is for reading
		t.Errorf("%s (-want +got):\n%s", what, cmp.Diff(want, got))
	}
}

// inOrder fails unless the file passes the survey and agrees with Stats.
func inOrder(t testing.TB, s *Spool) {
	t.Helper()
	s.diskMu.Lock()
	defer s.diskMu.Unlock()
	found, err := takeStock(s.disk.path(), s.disk.gone)
	if err != nil {
		t.Errorf("after use: %v", err)
	}
	same(t, "records and bytes in file",
		[]int64{int64(found.records), found.bytes}, []int64{int64(s.disk.records), s.disk.bytes})
}
