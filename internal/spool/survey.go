package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"os"
	"time"
)

// bucketName is the bbolt bucket that holds the records, by key as 8 bytes
// big-endian.
const bucketName = "records"

// errDamaged means that the file cannot be trusted as it is.
var errDamaged = errors.New("spool file is damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
}

// survey is what was found in a file.
type survey struct {
	size       int64 // of the file
	records    int
	bytes      int64
	first      uint64 // key
	last       uint64 // key
	oldestAt   time.Time
	unreadable int                 // records that lie in order but cannot be read
	live       map[uint64]struct{} // keys of all records, only if some cannot be read
}

// takeStock reads the whole file before bbolt sees it. bbolt trusts what it
// maps: on a damaged page it panics, faults, or runs in circles until the
// stack is full, some of it in goroutines where nobody can recover; it takes
// an old state for the newest when a meta page is bad, and an empty file for a
// new spool. So it is only given files that passed here.
//
// keys in gone do not count. A file that is not in order is errDamaged; with
// live set in the survey, only single records of it are.
func takeStock(path string, gone map[uint64]struct{}) (survey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return survey{}, err
	}
	if !info.Mode().IsRegular() {
		return survey{}, damaged("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return survey{}, err
	}
	defer f.Close() //nolint:errcheck // it is only read
	s := survey{size: info.Size()}
	l := layout{window: window{file: f, size: info.Size()}}
	l.visit = func(key uint64, off, size int64) {
		if _, ok := gone[key]; !ok {
			s.add(&l.window, key, off, size)
		}
	}
	if err := l.walk(); err != nil {
		return survey{}, damaged("%v", err)
	}
	if s.unreadable == 0 {
		return s, nil
	}
	n := s.unreadable
	s.live = make(map[uint64]struct{}, s.records+n)
	l.visit = func(key uint64, _, _ int64) {
		if _, ok := gone[key]; !ok {
			s.live[key] = struct{}{}
		}
	}
	if err := l.walk(); err != nil {
		return survey{}, damaged("%v", err)
	}
	return s, damaged("%d records cannot be read", n)
}

func (s *survey) add(w *window, key uint64, off, size int64) {
	h, err := w.record(off)
	if err != nil || h.length() != size || h.Key != key {
		s.unreadable++
		return
	}
	if s.records == 0 {
		s.first, s.oldestAt = key, h.receivedAt()
	}
	s.records++
	s.bytes += size
	s.last = key
}

// layout walks the pages of a bbolt file, proving that every page is where it
// should be and used once. The numbers are in the order of the machine.
type layout struct {
	window
	meta  meta
	used  []uint64 // a bit for each page
	visit func(key uint64, off, size int64)
}

// meta is one of the two pages that bbolt begins a file with.
type meta struct {
	pageSize, root, freelist, hwm, txid int64
}

// Of bbolt's file format.
const (
	pageHeader   = 16
	element      = 16
	metaBytes    = 64
	bucketHeader = 16
	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freelistPage = 0x10
	bucketFlag   = 0x01
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	manyPages    = 0xFFFF // the count of a long freelist stands in its first id
	maxDepth     = 64
)

func (l *layout) walk() error {
	if err := l.readMetas(); err != nil {
		return err
	}
	l.used = make([]uint64, l.meta.hwm/64+1)
	root, err := l.open(l.meta.root)
	if err != nil {
		return err
	}
	if err := l.walkRoot(root); err != nil {
		return err
	}
	if err := l.walkFreelist(); err != nil {
		return err
	}
	for id := int64(2); id < l.meta.hwm; id++ {
		if l.used[id/64]&(1<<(id%64)) == 0 {
			return fmt.Errorf("page %d is neither used nor free", id)
		}
	}
	return nil
}

// readMetas wants both meta pages whole and one commit apart. With one of them
// bbolt would go on too, perhaps with what was true a commit ago.
func (l *layout) readMetas() error {
	m0, err := l.readMeta(0)
	if err != nil {
		return err
	}
	m1, err := l.readMeta(m0.pageSize)
	if err != nil {
		return err
	}
	newest, older := m0, m1
	if m1.txid > m0.txid {
		newest, older = m1, m0
	}
	switch {
	case newest.txid != older.txid+1 || m0.pageSize != m1.pageSize:
		return errors.New("the meta pages do not belong together")
	case newest.hwm < 4 || newest.hwm > l.size/newest.pageSize:
		return fmt.Errorf("the file ends before page %d", newest.hwm)
	}
	l.meta = newest
	return nil
}

func (l *layout) readMeta(off int64) (meta, error) {
	b, err := l.at(off, pageHeader+metaBytes)
	if err != nil {
		return meta{}, fmt.Errorf("meta page: %w", err)
	}
	flags, b := binary.NativeEndian.Uint16(b[8:]), b[pageHeader:]
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaBytes-8]) // a hash takes everything
	m := meta{
		pageSize: int64(binary.NativeEndian.Uint32(b[8:])),
		root:     word(b[16:]),
		freelist: word(b[32:]),
		hwm:      word(b[40:]),
		txid:     word(b[48:]),
	}
	if flags != metaPage || sum.Sum64() != binary.NativeEndian.Uint64(b[56:]) ||
		binary.NativeEndian.Uint32(b) != boltMagic || binary.NativeEndian.Uint32(b[4:]) != boltVersion ||
		m.pageSize < 512 || m.pageSize > math.MaxInt32 {
		return meta{}, fmt.Errorf("the meta page at %d is not whole", off)
	}
	return m, nil
}

// page is a page, or what stands for one inside another page's value.
type page struct {
	off, size int64
	flags     uint16
	count     int
}

// open claims a page, which nobody else may have claimed.
func (l *layout) open(id int64) (page, error) {
	if id < 2 || id >= l.meta.hwm {
		return page{}, fmt.Errorf("page %d is out of bounds", id)
	}
	off := id * l.meta.pageSize
	b, err := l.at(off, pageHeader)
	if err != nil {
		return page{}, fmt.Errorf("page %d: %w", id, err)
	}
	pages := int64(binary.NativeEndian.Uint32(b[12:])) + 1
	if word(b) != id || id+pages > l.meta.hwm {
		return page{}, fmt.Errorf("page %d is not itself", id)
	}
	p := parsePage(b, off, pages*l.meta.pageSize)
	for i := id; i < id+pages; i++ {
		if err := l.claim(i); err != nil {
			return page{}, err
		}
	}
	return p, nil
}

func parsePage(b []byte, off, size int64) page {
	return page{
		off: off, size: size,
		flags: binary.NativeEndian.Uint16(b[8:]),
		count: int(binary.NativeEndian.Uint16(b[10:])),
	}
}

// word reads a number of 8 bytes. One that is too large becomes negative, and
// with it out of every bound.
func word(b []byte) int64 {
	return int64(binary.NativeEndian.Uint64(b)) //nolint:gosec // as said
}

func (l *layout) claim(id int64) error {
	bit := uint64(1) << (id % 64)
	if l.used[id/64]&bit != 0 {
		return fmt.Errorf("page %d is used twice", id)
	}
	l.used[id/64] |= bit
	return nil
}

// isMissing tells a file that is not there from one that cannot be read.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
