package spool

import (
	"bytes"
	"os"

	bolt "go.etcd.io/bbolt"
)

// scanBytes is how much of a file is passed over where the disk cannot read it.
const scanBytes = 4096

// Of one transaction of salvage.
const (
	salvageRecords = 1000
	salvageBytes   = 16 << 20
)

// salvage puts into db what can be read of the damaged file, looking for
// records wherever they lie, and returns how many it found. With live, it takes
// only these keys. Without, it takes everything, also what was removed long ago
// and not yet overwritten: better twice than lost.
func (d *disk) salvage(db *bolt.DB, live map[uint64]struct{}) (int, error) {
	info, err := os.Stat(d.path())
	if err != nil || !info.Mode().IsRegular() {
		return 0, err
	}
	f, err := os.Open(d.path())
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	s := salvager{db: db, window: window{file: f, size: info.Size()}}
	s.wanted = func(key uint64) bool {
		if _, ok := d.gone[key]; ok {
			return false
		}
		_, ok := live[key]
		return ok || live == nil
	}
	if err := s.scan(); err != nil {
		return 0, err
	}
	return s.found, s.commit()
}

type salvager struct {
	window
	db     *bolt.DB
	wanted func(key uint64) bool
	batch  [][]byte
	bytes  int
	found  int
}

// scan goes through the file from mark to mark. What the disk cannot read is
// passed over.
func (s *salvager) scan() error {
	mark := []byte(recordStart)
	for off := int64(0); off+minRecord <= s.size; {
		b, err := s.at(off, int(min(scanBytes, s.size-off)))
		if err != nil {
			off += scanBytes - off%scanBytes
			continue
		}
		i := bytes.Index(b, mark)
		if i < 0 {
			off += int64(len(b) - len(mark) + 1)
			continue
		}
		off += int64(i)
		h, err := s.record(off)
		if err != nil {
			off++
			continue
		}
		if s.wanted(h.Key) {
			if err := s.take(off, h); err != nil {
				return err
			}
		}
		off += h.length()
	}
	return nil
}

func (s *salvager) take(off int64, h header) error {
	b := make([]byte, h.length())
	if _, err := s.file.ReadAt(b, off); err != nil {
		return nil //nolint:nilerr // it was readable a moment ago: the disk is dying, take the next
	}
	if _, err := decode(b); err != nil {
		return nil //nolint:nilerr // as above
	}
	return s.add(b)
}

// add puts an encoded record into the batch.
func (s *salvager) add(b []byte) error {
	s.batch = append(s.batch, b)
	s.bytes += len(b)
	if len(s.batch) >= salvageRecords || s.bytes >= salvageBytes {
		return s.commit()
	}
	return nil
}

// commit puts the batch into the new file. A record that was found before, in
// another page's older copy, is left out; one of the same key and another
// content, from before a start with a wrong clock, gets the next free key.
func (s *salvager) commit() error {
	err := guarded(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			b := records(tx)
			for _, r := range s.batch {
				h, err := parseHeader(r)
				if err != nil {
					return err
				}
				fresh, err := putOnce(b, h.Key, r)
				if err != nil {
					return err
				}
				if fresh {
					s.found++
				}
			}
			return nil
		})
	})
	s.batch, s.bytes = nil, 0
	return err
}

func putOnce(b *bolt.Bucket, key uint64, r []byte) (bool, error) {
	for {
		old := b.Get(diskKey(key))
		if old == nil {
			return true, b.Put(diskKey(key), r)
		}
		if sameContent(old, r) {
			return false, nil
		}
		key++
		seal(r, key)
	}
}

// sameContent compares records but for their keys and checksums.
func sameContent(a, b []byte) bool {
	return bytes.Equal(a[keyEnd:], b[keyEnd:])
}
