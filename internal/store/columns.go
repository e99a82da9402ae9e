package store

import (
	"encoding/binary"
	"math"
	"time"
)

// columns is a batch laid out as one array for each column, in the binary form
// in which Postgres receives it. Writing that form here, instead of handing
// slices to pgx, halves what a stored row costs the server.
type columns struct {
	rows   int
	values [][]byte
}

// Layout of an array: dimensions, whether it has nulls, element type, length,
// lower bound; then each element behind its length.
const (
	arrayHeader = 20
	nullLength  = math.MaxUint32 // -1
)

// array starts the next column, for elements of together about size bytes.
func (c *columns) array(oid uint32, size int) *column {
	b := make([]byte, 0, arrayHeader+4*c.rows+size)
	dimensions := uint32(1)
	if c.rows == 0 {
		dimensions = 0
	}
	b = binary.BigEndian.AppendUint32(b, dimensions)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, oid)
	if c.rows > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(c.rows)) //nolint:gosec // at most maxBatchRows
		b = binary.BigEndian.AppendUint32(b, 1)
	}
	return &column{b}
}

func (c *columns) add(a *column) { c.values = append(c.values, a.bytes) }

// column is an array under construction.
type column struct{ bytes []byte }

func (a *column) null() { a.bytes = binary.BigEndian.AppendUint32(a.bytes, nullLength) }

func (a *column) length(n int) {
	a.bytes = binary.BigEndian.AppendUint32(a.bytes, uint32(n)) //nolint:gosec // bodies are far smaller
}

func (a *column) text(s string) {
	a.length(len(s))
	a.bytes = append(a.bytes, s...)
}

// textOrNull takes the empty string, by which flowparse says "unknown", for
// null.
func (a *column) textOrNull(s string) {
	if s == "" {
		a.null()
		return
	}
	a.text(s)
}

func (a *column) blob(b []byte) {
	a.length(len(b))
	a.bytes = append(a.bytes, b...)
}

// json appends a jsonb value, whose binary form is a version and the text.
func (a *column) json(text []byte) {
	a.length(1 + len(text))
	a.bytes = append(a.bytes, 1)
	a.bytes = append(a.bytes, text...)
}

// timeOrNull takes the zero time for null. Postgres counts microseconds from
// the year 2000.
func (a *column) timeOrNull(t time.Time) {
	if t.IsZero() {
		a.null()
		return
	}
	const epoch = 946684800
	a.length(8)
	a.bytes = binary.BigEndian.AppendUint64(a.bytes, uint64((t.Unix()-epoch)*1e6+int64(t.Nanosecond())/1e3)) //nolint:gosec // two's complement is what is sent
}
