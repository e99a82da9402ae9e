// Package api answers those who cannot reach Postgres: pages of responses, one
// response, the flows, and exports as streams, under /api/v1. It changes nothing.
//
// Every route but the description needs a bearer token. openapi.yaml describes
// the routes; a test holds both together.
package api

import (
	"bytes"
	_ "embed" // openapi.yaml
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/go-chi/chi/v5"

	"flowkeep/internal/store"
	"flowkeep/internal/store/read"
	"flowkeep/internal/web"
)

//go:embed openapi.yaml
var description []byte

// What the holders of tokens can take at the same time. Whoever comes next is
// told to come back.
const (
	Sessions   = 4 // with the database, of them …
	maxStreams = 2 // … for streams
	maxAnswers = 16
)

// Handler serves the routes.
type Handler struct {
	reader  *read.Reader
	guard   *guard
	answers chan struct{} // holds a token for each answer that is under way
	streams chan struct{}
	stall   time.Duration // a stream that nobody reads for so long is cut off
}

// New returns a Handler that reads from reader, which has Sessions sessions, and
// believes tokens. There must be one at least.
func New(reader *read.Reader, tokens []Token) *Handler {
	return &Handler{
		reader: reader, guard: newGuard(tokens),
		answers: make(chan struct{}, maxAnswers), streams: make(chan struct{}, maxStreams),
		stall: 20 * time.Second,
	}
}

// Routes adds the addresses to r.
func (h *Handler) Routes(r chi.Router) {
	r.Get("/api/v1/openapi.yaml", describe)
	r.Head("/api/v1/openapi.yaml", describe)
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"/api/v1/responses":                   h.responses,
		"/api/v1/responses/{message_id}":      h.response,
		"/api/v1/flows":                       h.flows,
		"/api/v1/flows/{id}/responses.csv":    h.stream("csv", "text/csv; charset=utf-8", (*read.Reader).CSV),
		"/api/v1/flows/{id}/responses.ndjson": h.stream("ndjson", "application/x-ndjson", (*read.Reader).NDJSON),
	} {
		r.Get(pattern, h.guarded(serve))
		r.Head(pattern, h.guarded(serve))
	}
}

func describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(description) // a client that is gone misses its answer
}

// guarded lets holders of a token pass, as many at a time as there is room for.
func (h *Handler) guarded(serve func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := h.guard.admit(w, r)
		if err == nil {
			err = held(h.answers, func() error { return serve(w, r) })
		}
		if err != nil {
			refuse(w, err)
		}
	}
}

// held runs do while it holds one of the places, or returns errCrowded.
func held(places chan struct{}, do func() error) error {
	select {
	case places <- struct{}{}:
	default:
		return errCrowded
	}
	defer func() { <-places }()
	return do()
}

// refuse is the one place that maps errors to answers.
func refuse(w http.ResponseWriter, err error) {
	var wrong *parameterError
	if !errors.As(err, &wrong) { // it may quote what was sent
		web.EventOf(w).Fail(err)
	}
	switch {
	case errors.Is(err, errNoToken):
		w.Header().Set("WWW-Authenticate", `Bearer realm="flowkeep"`)
		web.Problem(w, http.StatusUnauthorized, "Send a token of FLOWKEEP_API_TOKENS in the header Authorization: Bearer TOKEN.")
	case errors.Is(err, errTooMany):
		w.Header().Set("Retry-After", "1")
		web.Problem(w, http.StatusTooManyRequests, "There were too many requests. Send fewer, and this one again.")
	case errors.Is(err, errCrowded):
		w.Header().Set("Retry-After", "10")
		web.Problem(w, http.StatusTooManyRequests, "Too many answers are under way. Wait for one to end, then send this again.")
	case wrong != nil:
		web.EventOf(w).Text("reason", "wrong parameter")
		web.Problem(w, http.StatusBadRequest, wrong.Error())
	case errors.Is(err, read.ErrNotFound):
		web.Problem(w, http.StatusNotFound, "There is no such response or flow.")
	case errors.Is(err, store.ErrUnavailable):
		w.Header().Set("Retry-After", "10")
		web.Problem(w, http.StatusServiceUnavailable, "The database does not answer now. Send this again.")
	default:
		web.Problem(w, http.StatusInternalServerError, "")
	}
}

func (h *Handler) responses(w http.ResponseWriter, r *http.Request) error {
	q, err := readQuery(r)
	if err != nil {
		return err
	}
	page, err := h.reader.Page(r.Context(), q)
	if errors.Is(err, read.ErrCursor) {
		return &parameterError{"after", `it is not the "next" of a page`}
	}
	if err != nil {
		return err
	}
	web.EventOf(w).Count("responses", len(page.Responses))
	writeList(w, "responses", page.Responses, page.Next)
	return nil
}

func (h *Handler) response(w http.ResponseWriter, r *http.Request) error {
	if _, err := readParameters(r); err != nil {
		return err
	}
	id, err := pathValue(r, "message_id")
	if err != nil {
		return err
	}
	object, err := h.reader.One(r.Context(), id)
	if err != nil {
		return err
	}
	writeJSON(w, object)
	return nil
}

func (h *Handler) flows(w http.ResponseWriter, r *http.Request) error {
	values, err := readParameters(r, "after")
	if err != nil {
		return err
	}
	list, next, err := h.reader.Flows(r.Context(), values["after"])
	if err != nil {
		return err
	}
	writeList(w, "flows", list, next)
	return nil
}

// pathValue returns a part of the path, decoded. The router leaves it encoded if
// the path holds an encoded slash or the like.
func pathValue(r *http.Request, name string) (string, error) {
	value := chi.URLParam(r, name)
	if r.URL.RawPath != "" {
		var err error
		if value, err = url.PathUnescape(value); err != nil {
			return "", &parameterError{name, "it is not percent-encoded"}
		}
	}
	return value, checkText(name, value)
}

// writeList answers with objects as they are, which json.Marshal would rewrite,
// and the place to go on at.
func writeList(w http.ResponseWriter, name string, list [][]byte, next string) {
	cursor, _ := json.Marshal(next) // a string always marshals
	if next == "" {
		cursor = []byte("null")
	}
	writeJSON(w, bytes.Join([][]byte{[]byte(`{"` + name + `":[`), bytes.Join(list, []byte(",")), []byte(`],"next":`), cursor, []byte("}")}, nil))
}

func writeJSON(w http.ResponseWriter, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append(body, '\n')) // a client that is gone misses its answer
}
