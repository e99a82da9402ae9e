package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// A record on disk, numbers little-endian:
//
//	 0  4  F5 66 6B and the version of this format, 1
//	 4  4  CRC-32C of everything that follows
//	 8  4  length of the whole record
//	12  8  key
//	20  8  received at: seconds since 1970
//	28  4  received at: nanoseconds
//	32     source, event, idempotency key, body: each a length of 4 bytes, then
//	       that many bytes
//
// A record says all about itself, so that it can be found and proved by
// looking for its first bytes when nothing else of a file can be trusted. No
// text holds the byte F5.
const (
	recordMark  = "\xf5fk"
	recordStart = recordMark + "\x01"
	headerBytes = 32
	crcEnd      = 8  // the checksum is of what follows here
	keyEnd      = 20 // what follows here is the record as it was handed in
	minRecord   = headerBytes + 4*4
	maxRecord   = 1<<31 - 2 // what bbolt takes
)

// header is the fixed beginning of a record, in the order of the disk.
type header struct {
	Start   [len(recordStart)]byte
	CRC     uint32
	Length  uint32
	Key     uint64
	Seconds int64
	Nanos   int32
}

func (h header) length() int64         { return int64(h.Length) }
func (h header) receivedAt() time.Time { return time.Unix(h.Seconds, int64(h.Nanos)).UTC() }

// errUnreadable means that bytes are no record that this version can read.
var errUnreadable = errors.New("unreadable record")

// castagnoli returns the table of CRC-32C, for which processors have an
// instruction. The table is made once, by the standard library.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// encode returns the record without a key, which seal adds.
func encode(r *Record) ([]byte, error) {
	size := minRecord + len(r.Source) + len(r.Event) + len(r.IdempotencyKey) + len(r.Body)
	if size > maxRecord {
		return nil, fmt.Errorf("a record of %d bytes: %w", size, ErrFull)
	}
	h := header{
		Start:   [len(recordStart)]byte([]byte(recordStart)),
		Length:  length32(size),
		Seconds: r.ReceivedAt.Unix(),
		Nanos:   int32(r.ReceivedAt.Nanosecond()), //nolint:gosec // always under 1e9
	}
	b, err := binary.Append(make([]byte, 0, size), binary.LittleEndian, h)
	if err != nil {
		return nil, err
	}
	for _, s := range []string{r.Source, r.Event, r.IdempotencyKey} {
		b = binary.LittleEndian.AppendUint32(b, length32(len(s)))
		b = append(b, s...)
	}
	b = binary.LittleEndian.AppendUint32(b, length32(len(r.Body)))
	return append(b, r.Body...), nil
}

func length32(n int) uint32 { return uint32(n) } //nolint:gosec // never over maxRecord

// seal gives an encoded record its key and its checksum.
func seal(b []byte, key uint64) {
	binary.LittleEndian.PutUint64(b[keyEnd-8:], key)
	binary.LittleEndian.PutUint32(b[crcEnd-4:], crc32.Checksum(b[crcEnd:], castagnoli()))
}

// parseHeader reads the first headerBytes of a record.
func parseHeader(b []byte) (header, error) {
	if len(b) < headerBytes || string(b[:len(recordMark)]) != recordMark {
		return header{}, fmt.Errorf("%w: it does not begin like one", errUnreadable)
	}
	if v := b[len(recordMark)]; v != recordStart[len(recordMark)] {
		return header{}, fmt.Errorf("%w: format version %d", errUnreadable, v)
	}
	var h header
	if _, err := binary.Decode(b, binary.LittleEndian, &h); err != nil {
		return header{}, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if h.length() < minRecord || h.length() > maxRecord {
		return header{}, fmt.Errorf("%w: length %d", errUnreadable, h.Length)
	}
	return h, nil
}

// decode reads a whole record, copying what it keeps of b.
func decode(b []byte) (Entry, error) {
	h, err := parseHeader(b)
	if err != nil {
		return Entry{}, err
	}
	if h.length() != int64(len(b)) || h.CRC != crc32.Checksum(b[crcEnd:], castagnoli()) {
		return Entry{}, fmt.Errorf("%w: checksum", errUnreadable)
	}
	var fields [4][]byte
	rest := b[headerBytes:]
	for i := range fields {
		if len(rest) < 4 {
			return Entry{}, fmt.Errorf("%w: cut short", errUnreadable)
		}
		n := uint64(binary.LittleEndian.Uint32(rest))
		if rest = rest[4:]; n > uint64(len(rest)) {
			return Entry{}, fmt.Errorf("%w: cut short", errUnreadable)
		}
		fields[i], rest = rest[:n], rest[n:]
	}
	return Entry{Key: h.Key, Record: Record{
		ReceivedAt:     h.receivedAt(),
		Source:         string(fields[0]),
		Event:          string(fields[1]),
		IdempotencyKey: string(fields[2]),
		Body:           append([]byte(nil), fields[3]...),
	}}, nil
}
