package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"flowkeep/internal/store/read"
	"flowkeep/internal/web"
)

// stream returns a route that exports a flow's responses.
func (h *Handler) stream(extension, contentType string, write func(*read.Reader, context.Context, io.Writer, *read.Export) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		values, err := readParameters(r, "since", "until")
		if err != nil {
			return err
		}
		var e read.Export
		if e.Since, e.Until, err = readSpan(values); err != nil {
			return err
		}
		if e.Flow, err = pathValue(r, "id"); err != nil {
			return err
		}
		return held(h.streams, func() error {
			d := &download{ResponseController: http.NewResponseController(w), w: w, head: r.Method == http.MethodHead, stall: h.stall}
			_ = d.SetReadDeadline(time.Time{}) // else the server takes a long answer's client for gone
			header := w.Header()
			header.Set("Content-Type", contentType)
			header.Set("X-Content-Type-Options", "nosniff")
			header.Set("Cache-Control", "no-store")
			header.Set("Content-Disposition", `attachment; filename="`+fileName(e.Flow)+"."+extension+`"`)
			ctx, cancel := context.WithTimeout(r.Context(), longestStream)
			defer cancel()
			err := write(h.reader, ctx, d, &e)
			web.EventOf(w).Count("responses", int(e.Rows()))
			switch {
			case errors.Is(err, errHeadOnly):
				return nil
			case err != nil && d.begun: // half an answer must not pass for a whole one
				web.EventOf(w).Fail(err)
				panic(http.ErrAbortHandler)
			case err != nil:
				header.Del("Content-Disposition")
			}
			return err
		})
	}
}

// longestStream is how long an export may hold its view of the database, which
// keeps vacuum from what was deleted since.
const longestStream = time.Hour

// errHeadOnly ends an export that was asked for its header only.
var errHeadOnly = errors.New("only the header was asked for")

// download passes an export to a client that must go on reading.
type download struct {
	*http.ResponseController
	w     http.ResponseWriter
	head  bool
	stall time.Duration
	begun bool
}

func (d *download) Write(b []byte) (int, error) {
	if d.head {
		return 0, errHeadOnly
	}
	d.begun = true
	if err := d.SetWriteDeadline(time.Now().Add(d.stall)); err != nil {
		return 0, err
	}
	return d.w.Write(b)
}

// fileName is made of a flow's id, which its sender chose.
func fileName(flow string) string {
	safe := func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' || r == '-' {
			return r
		}
		return -1
	}
	const longest = 64
	name := strings.Map(safe, flow)
	return "responses-" + name[:min(len(name), longest)]
}
