package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// removeKeys bounds one transaction of remove.
const removeKeys = 4096

func records(tx *bolt.Tx) *bolt.Bucket { return tx.Bucket([]byte(bucketName)) }

func diskKey(key uint64) []byte { return binary.BigEndian.AppendUint64(nil, key) }

// put gives the encoded records their keys and commits them, all or none.
func (d *disk) put(encoded [][]byte) error {
	var size int64
	err := d.use(func() error {
		size = 0
		key := d.nextKey
		d.nextKey += uint64(len(encoded))
		// Fragments, the list of free pages and growth in steps come on top of
		// the records.
		d.db.MaxSize = int(min(2*d.maxBytes+64<<20, 1<<46))
		return d.update(func(b *bolt.Bucket) error {
			b.FillPercent = 1 // keys ascend, so nothing comes between
			for i, r := range encoded {
				seal(r, key+uint64(i))
				size += int64(len(r))
				if err := b.Put(diskKey(key+uint64(i)), r); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	if first, err := parseHeader(encoded[0]); err == nil && d.records == 0 {
		d.oldestAt, d.low = first.receivedAt(), first.Key
	}
	d.records += len(encoded)
	d.bytes += size
	return nil
}

// update commits what change does. When it returns an error, the state is as
// before, or the file is closed, so that the next use looks at it anew.
func (d *disk) update(change func(*bolt.Bucket) error) error {
	before, err := d.txid()
	if err != nil {
		return err
	}
	err = d.db.Update(func(tx *bolt.Tx) error { return change(records(tx)) })
	switch {
	case err == nil:
		d.err = nil
		return nil
	case errors.Is(err, berrors.ErrMaxSizeReached):
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	// bbolt rolls back well when it cannot write. But if the commit shows
	// although it failed, nobody knows what the disk holds.
	if after, afterErr := d.txid(); afterErr != nil || after != before {
		d.close()
	}
	return err
}

// txid returns the number of the last commit.
func (d *disk) txid() (id int, err error) {
	err = d.db.View(func(tx *bolt.Tx) error {
		id = tx.ID()
		return nil
	})
	return id, err
}

// oldest returns up to n entries of together up to maxBytes, but at least one.
func (d *disk) oldest(n, maxBytes int) ([]Entry, error) {
	if n <= 0 {
		return nil, nil
	}
	var entries []Entry
	err := d.use(func() error {
		entries = nil
		size := 0
		return d.each(func(key uint64, value []byte) (bool, error) {
			size += len(value)
			if len(entries) == n || (len(entries) > 0 && size > maxBytes) {
				return false, nil
			}
			e, err := decode(value)
			if err != nil || e.Key != key {
				return false, damaged("record %d: %v", key, err)
			}
			entries = append(entries, e)
			return true, nil
		})
	})
	return entries, err
}

// find returns the keys of the records that match.
func (d *disk) find(match func(Record) bool) (keys []uint64, err error) {
	err = d.use(func() error {
		keys = nil
		return d.each(func(key uint64, value []byte) (bool, error) {
			e, err := decode(value)
			if err != nil || e.Key != key {
				return false, damaged("record %d: %v", key, err)
			}
			if match(e.Record) {
				keys = append(keys, key)
			}
			return true, nil
		})
	})
	return keys, err
}

// each calls visit for the records in order, until it returns false. The value
// is good until visit returns.
func (d *disk) each(visit func(key uint64, value []byte) (bool, error)) error {
	return d.db.View(func(tx *bolt.Tx) error {
		c := records(tx).Cursor()
		for k, v := c.Seek(diskKey(d.low)); k != nil; k, v = c.Next() {
			key := binary.BigEndian.Uint64(k)
			if _, ok := d.gone[key]; ok {
				continue
			}
			if more, err := visit(key, v); !more || err != nil {
				return err
			}
		}
		return nil
	})
}

// remove forgets the keys at once, and then takes them from the file. If that
// fails, they do not come back while the process lives: a disk that is full or
// read-only can still be emptied, in order.
func (d *disk) remove(keys []uint64) error {
	empty := false
	err := d.use(func() (err error) {
		empty, err = d.forget(keys)
		return err
	})
	if err != nil {
		for _, k := range keys { // the next open does without them
			d.markGone(k)
		}
		return err
	}
	err = d.use(d.sweep)
	if empty && (err != nil || d.size() > startOverBytes) {
		if err = d.startOver(); err != nil {
			d.err = diskError(err)
			return d.err
		}
	}
	return err
}

// forget takes the keys out of the count and says whether nothing is left.
func (d *disk) forget(keys []uint64) (empty bool, err error) {
	err = d.db.View(func(tx *bolt.Tx) error {
		b := records(tx)
		for _, k := range keys {
			_, before := d.gone[k]
			if v := b.Get(diskKey(k)); v != nil && !before {
				d.markGone(k)
				d.records--
				d.bytes -= int64(len(v))
			}
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	empty = true
	err = d.each(func(key uint64, value []byte) (bool, error) {
		h, err := parseHeader(value)
		if err != nil {
			return false, damaged("record %d: %v", key, err)
		}
		d.low, d.oldestAt, empty = key, h.receivedAt(), false
		return false, nil
	})
	if err == nil && empty {
		d.records, d.bytes, d.oldestAt = 0, 0, time.Time{}
	}
	return empty, err
}

func (d *disk) markGone(key uint64) {
	if d.gone == nil {
		d.gone = make(map[uint64]struct{})
	}
	d.gone[key] = struct{}{}
}

// sweep takes from the file what is gone.
func (d *disk) sweep() error {
	for len(d.gone) > 0 {
		swept := make([]uint64, 0, min(len(d.gone), removeKeys))
		for k := range d.gone {
			if swept = append(swept, k); len(swept) == removeKeys {
				break
			}
		}
		d.db.MaxSize = 0 // what makes room is not refused for want of it
		err := d.update(func(b *bolt.Bucket) error {
			for _, k := range swept {
				if err := b.Delete(diskKey(k)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, k := range swept {
			delete(d.gone, k)
		}
	}
	return nil
}

// size returns the file's size, or 0.
func (d *disk) size() int64 {
	if d.file == nil {
		return 0
	}
	info, err := d.file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}
