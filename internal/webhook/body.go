package webhook

import (
	"errors"
	"fmt"
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
	errBodyIncomplete = errors.New("body ended early")
)

// readBody returns the exact bytes, at most limit of them. A larger body is an
// error, never cut. How long it may take is the server's read timeout.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, errEncodedBody
	}
	if r.ContentLength > limit {
		return nil, errBodyTooLarge
	}
	body, err := readAll(http.MaxBytesReader(w, r.Body, limit), r.ContentLength)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, &tooLarge):
		return nil, errBodyTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errBodyTooSlow
	}
	return nil, fmt.Errorf("%w: %w", errBodyIncomplete, err)
}

// readAll reads to the end. A declared length saves growing the buffer, but is
// only believed up to a megabyte before the bytes are there.
func readAll(from io.Reader, declared int64) ([]byte, error) {
	if declared < 0 || declared > 1<<20 {
		return io.ReadAll(from)
	}
	body := make([]byte, declared)
	_, err := io.ReadFull(from, body)
	return body, err
}
