package webhook

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
)

// Why a body cannot be taken.
var (
	errEncodedBody    = errors.New("content encoding is not supported")
	errBodyTooLarge   = errors.New("body is larger than the limit")
	errBodyTooSlow    = errors.New("body did not arrive in time")
	errBodyIncomplete = errors.New("body ended early, or its chunks are malformed")
)

// firstRead is the buffer of a body before any of it has arrived: what a
// declared length is believed up to, and enough for most deliveries.
const firstRead = 8 << 10

// readBody returns the exact bytes, at most limit of them. A larger body is an
// error, never cut. How long it may take is the server's read timeout. The
// memory is counted in p as it is taken.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, p *portion) ([]byte, error) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, errEncodedBody
	}
	if r.ContentLength > limit {
		return nil, errBodyTooLarge
	}
	most := limit + 1 // one more byte than allowed tells that a body is too large
	if r.ContentLength >= 0 {
		most = r.ContentLength
	}
	body, err := readAll(http.MaxBytesReader(w, r.Body, limit), most, p)
	if err == nil && int64(len(body)) < r.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		return body, nil
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, errBodyTooLarge
	}
	switch {
	case errors.Is(err, errCrowded):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		if crowded := p.grow(0); crowded != nil {
			return nil, crowded // the deadline was ours, to make room
		}
		return nil, errBodyTooSlow
	}
	return nil, errBodyIncomplete // the cause may quote the sender: a bad trailer does
}

// readAll reads to the end, or to most bytes if they come first. The buffer
// doubles as bytes arrive.
func readAll(from io.Reader, most int64, p *portion) ([]byte, error) {
	var body []byte
	for int64(len(body)) < most {
		if len(body) == cap(body) {
			size := min(max(firstRead, 2*int64(cap(body))), most)
			if err := p.grow(size - int64(cap(body))); err != nil {
				return nil, err
			}
			body = append(make([]byte, 0, size), body...)
		}
		n, err := from.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return body, nil
}
