package spool

import (
	"errors"
	"hash/crc32"
	"io"
)

// windowBytes is the most that one read of a file under examination takes, and
// leastRead what the first one takes after a jump.
const (
	windowBytes = 256 << 10
	leastRead   = 8 << 10
)

// window looks at a file by reading, not by mapping it into memory, so that no
// damage can fault, and through a buffer of fixed size, so that no damaged
// length can take memory.
type window struct {
	file io.ReaderAt
	size int64
	off  int64
	buf  []byte // what lies at off
	next int64  // size of the next read if it goes on from here
	room [windowBytes]byte
}

// at returns n bytes at off, at most windowBytes. They are good until the next
// call.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off < 0 || off+int64(n) > w.size {
		return nil, io.ErrUnexpectedEOF
	}
	end := w.off + int64(len(w.buf))
	if off < w.off || off+int64(n) > end {
		if off < w.off || off > end+leastRead {
			w.next = leastRead
		}
		read := min(max(w.next, int64(n)), w.size-off)
		w.next = min(2*read, windowBytes)
		got, err := w.file.ReadAt(w.room[:read], off)
		w.off, w.buf = off, w.room[:got]
		if got < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return w.buf[off-w.off:][:n], nil
}

// record proves that a whole record lies at off, and returns its header.
func (w *window) record(off int64) (header, error) {
	b, err := w.at(off, headerBytes)
	if err != nil {
		return header{}, err
	}
	h, err := parseHeader(b)
	if err != nil {
		return header{}, err
	}
	sum := crc32.Checksum(b[crcEnd:], castagnoli())
	for pos := int64(headerBytes); pos < h.length(); {
		n := min(windowBytes, h.length()-pos)
		if b, err = w.at(off+pos, int(n)); err != nil {
			return header{}, err
		}
		sum = crc32.Update(sum, castagnoli(), b)
		pos += n
	}
	if sum != h.CRC {
		return header{}, errUnreadable
	}
	return h, nil
}
