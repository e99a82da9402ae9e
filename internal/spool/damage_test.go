package spool

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func errorNames(err error, name string) bool {
	return err != nil && strings.Contains(err.Error(), name)
}

// sample returns the bytes of a spool file, what is in it, and everything that
// ever was in it.
func sample(t testing.TB) (file []byte, live, ever []Record) {
	t.Helper()
	dir := folder(t)
	s := open(t, dir, Options{})
	for i := range 60 {
		ever = append(ever, numbered(i, 100+i*37))
		appendTo(t, s, ever[i])
	}
	ever = append(ever, numbered(60, 70_000), numbered(61, 3000))
	appendTo(t, s, ever[60:]...)
	gone := all(t, s)[:5]
	if err := s.Remove(keys(gone)...); err != nil {
		t.Fatal(err)
	}
	closeSpool(t, s)
	file, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return file, ever[5:], ever
}

// openWith opens a spool whose file has these bytes.
func openWith(t testing.TB, file []byte) (*Spool, string) {
	t.Helper()
	dir := fastFolder(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, fileName), file, 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, dir, Options{}), dir
}

// missing returns how many records of want are not among got, and fails if got
// has one that is not in ever.
func missing(t testing.TB, got []Entry, want, ever []Record) int {
	t.Helper()
	known := make(map[string]Record)
	for _, r := range ever {
		known[r.IdempotencyKey] = r
	}
	have := make(map[string]bool)
	for _, e := range got {
		same(t, "record "+e.IdempotencyKey, e.Record, known[e.IdempotencyKey])
		have[e.IdempotencyKey] = true
	}
	n := 0
	for _, r := range want {
		if !have[r.IdempotencyKey] {
			n++
		}
	}
	return n
}

// usable fails unless the spool can be used as if nothing had been.
func usable(t testing.TB, s *Spool) {
	t.Helper()
	before := len(all(t, s))
	appendTo(t, s, numbered(1000, 50))
	entries := all(t, s)
	if len(entries) != before+1 || entries[before].IdempotencyKey != "1000" {
		t.Errorf("%d records after one was added to %d", len(entries), before)
	}
	inOrder(t, s)
	if err := s.Remove(keys(entries)...); err != nil {
		t.Error(err)
	}
	if n := len(all(t, s)); n != 0 {
		t.Errorf("%d records after all were removed", n)
	}
}

func TestOpen_DamagedFile(t *testing.T) {
	t.Parallel()
	file, live, ever := sample(t)
	page := os.Getpagesize()
	with := func(change func(b []byte)) []byte {
		b := bytes.Clone(file)
		change(b)
		return b
	}
	for name, c := range map[string]struct {
		file []byte
		lost int // at most
	}{
		"empty":          {nil, len(live)},
		"one byte":       {file[:1], len(live)},
		"two pages":      {file[:2*page], len(live)},
		"half":           {file[:len(file)/2], len(live)},
		"torn":           {file[:lastRecordEnd(file)-1], 2},
		"first meta":     {with(func(b []byte) { clear(b[:page]) }), 0},
		"second meta":    {with(func(b []byte) { clear(b[page : 2*page]) }), 0},
		"both metas":     {with(func(b []byte) { clear(b[:2*page]) }), 0},
		"old meta twice": {with(func(b []byte) { copy(b[page:2*page], b[:page]) }), 0},
		"foreign":        {[]byte(strings.Repeat("not a database\n", 4000)), len(live)},
		"foreign, short": {[]byte("x"), len(live)},
		"zeros":          {make([]byte, 1<<16), len(live)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, dir := openWith(t, c.file)
			if n := missing(t, all(t, s), live, ever); n > c.lost {
				t.Errorf("%d records lost, want at most %d", n, c.lost)
			}
			if got := s.Stats().SetAside; got != 1 {
				t.Errorf("%d files set aside, want 1", got)
			}
			same(t, "the damaged file", readAside(t, dir), c.file)
			usable(t, s)
			closeSpool(t, s)
			if got := open(t, dir, Options{}).Stats(); got.SetAside != 1 || got.Err != nil {
				t.Errorf("after another start: %+v", got)
			}
		})
	}
}

// lastRecordEnd returns where the last record in the file ends.
func lastRecordEnd(file []byte) int64 {
	w := window{file: bytes.NewReader(file), size: int64(len(file))}
	off := int64(bytes.LastIndex(file, []byte(recordStart)))
	h, _ := w.record(off)
	return off + h.length()
}

func readAside(t testing.TB, dir string) []byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, asidePrefix+"*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("%v, %v; want one file", names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), b...)
}

// Whatever a flipped bit hits, it costs the record that it is in, at most.
func TestOpen_FlippedBits(t *testing.T) {
	t.Parallel()
	file, live, ever := sample(t)
	random := rand.New(rand.NewPCG(7, 11))
	for i := range 150 {
		b, flips := bytes.Clone(file), 1+random.IntN(8)
		for range flips {
			at := random.IntN(len(b))
			if random.IntN(4) == 0 { // the metas and tables are a small part of the file
				at = random.IntN(len(b)/512)*512 + random.IntN(64)
			}
			b[at] ^= 1 << random.IntN(8)
		}
		s, dir := openWith(t, b)
		lost := missing(t, all(t, s), live, ever)
		if lost > flips || (lost > 0 && s.Stats().SetAside != 1) {
			t.Errorf("%d flips cost %d records, %d files set aside", flips, lost, s.Stats().SetAside)
		}
		if i%10 == 0 {
			usable(t, s)
		}
		closeSpool(t, s)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpen_FolderInPlaceOfTheFile(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	if err := os.MkdirAll(filepath.Join(dir, fileName, "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, Options{})
	if got := s.Stats().SetAside; got != 1 {
		t.Errorf("%d set aside, want 1", got)
	}
	usable(t, s)
}

func TestOpen_RecordOfALaterVersionIsKept(t *testing.T) {
	t.Parallel()
	file, live, ever := sample(t)
	at := bytes.LastIndex(file, []byte(recordStart)) + len(recordMark)
	file[at] = 9
	s, dir := openWith(t, file)
	if n := missing(t, all(t, s), live, ever); n > 1 {
		t.Errorf("%d records lost, want one", n)
	}
	same(t, "the file with it", readAside(t, dir), file)
	for _, e := range all(t, s) { // the file's order was good, so nothing removed comes back
		if missing(t, []Entry{e}, live, ever) != len(live)-1 {
			t.Errorf("record %s came back", e.IdempotencyKey)
		}
	}
	usable(t, s)
}

func TestOpen_OtherBoltFile(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(filepath.Join(dir, fileName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("someone else's"))
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, Options{})
	if got := s.Stats().SetAside; got != 1 {
		t.Errorf("%d set aside, want 1", got)
	}
	usable(t, s)
}

func TestOpen_DamagedFilesDoNotFillTheDisk(t *testing.T) {
	t.Parallel()
	s, dir := openWith(t, []byte("bad"))
	for i := range maxSetAside + 3 {
		closeSpool(t, s)
		if err := os.WriteFile(filepath.Join(dir, fileName), []byte("bad"), 0o600); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, Options{})
		if got := s.Stats(); (got.Err == nil) != (i+2 <= maxSetAside) || got.SetAside > maxSetAside {
			t.Errorf("start %d: %+v", i+2, got)
		}
	}
	if err := s.Append(t.Context(), []Record{numbered(0, 1)}); !errors.Is(err, ErrDisk) {
		t.Errorf("got %v, want ErrDisk", err)
	}
}

func TestSpool_DamageInUse(t *testing.T) {
	t.Parallel()
	nothingLost := map[string]bool{"taken away": true, "folder gone": true, "replaced": true}
	for name, harm := range map[string]func(path string) error{
		"cut to nothing": func(path string) error { return os.Truncate(path, 0) },
		"cut to the metas": func(path string) error {
			return os.Truncate(path, 2*int64(os.Getpagesize()))
		},
		"overwritten": func(path string) error {
			return overwrite(path, bytes.Repeat([]byte{0xff}, 1<<16))
		},
		"taken away":  os.Remove,
		"folder gone": func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
		"replaced": func(path string) error {
			other := path + ".other"
			return errors.Join(os.WriteFile(other, []byte("other"), 0o600), os.Rename(other, path))
		},
	} {
		for use, try := range map[string]func(*Spool) error{
			"Append": func(s *Spool) error { return s.Append(t.Context(), []Record{numbered(99, 10)}) },
			"Remove": func(s *Spool) error { return s.Remove(1, 2, 3) },
			"Oldest": func(s *Spool) error {
				_, err := s.Oldest(100, 1<<20)
				return err
			},
		} {
			t.Run(name+", "+use, func(t *testing.T) {
				t.Parallel()
				dir := folder(t)
				s := open(t, dir, Options{})
				fill(t, s, 20, 2000)
				if err := harm(filepath.Join(dir, fileName)); err != nil {
					t.Fatal(err)
				}
				if err := try(s); err != nil {
					t.Errorf("%s: %v", use, err)
				}
				if nothingLost[name] {
					closeSpool(t, s)
					s = open(t, dir, Options{})
					if got := len(all(t, s)); got < 20 {
						t.Errorf("%d of 20 records left", got)
					}
				}
				usable(t, s)
			})
		}
	}
}

func overwrite(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	return errors.Join(err, f.Close())
}
