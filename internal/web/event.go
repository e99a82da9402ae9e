package web

import (
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Event is what the one log line of a request will say. Handlers add to it;
// they add counts and reasons, never answers, names, phone numbers or secrets.
type Event struct {
	err    error
	least  zerolog.Level // of the line, whatever the answer is
	fields []field
}

type field struct {
	name  string
	text  string
	count int
}

// Fail notes the error behind an answer. It stays in the log.
func (e *Event) Fail(err error) { e.err = err }

// Audit sees to it that the line stands in the usual log, that of a GET too.
func (e *Event) Audit() { e.least = max(e.least, zerolog.InfoLevel) }

// Text notes a word of ours, unless it is empty.
func (e *Event) Text(name, text string) {
	if text != "" {
		e.fields = append(e.fields, field{name: name, text: text})
	}
}

// Count notes a number, unless it is zero.
func (e *Event) Count(name string, n int) {
	if n != 0 {
		e.fields = append(e.fields, field{name: name, count: n})
	}
}

// answer is a ResponseWriter that remembers its status and carries the event.
type answer struct {
	http.ResponseWriter
	status int // 0 until the answer begins
	event  Event
	room   [8]field // most events need no more
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK { // 1xx are not the answer
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// EventOf returns the event of the request that w answers. Outside of Observe
// it returns one that nobody reads.
func EventOf(w http.ResponseWriter) *Event {
	if a, ok := w.(*answer); ok {
		return &a.event
	}
	return &Event{}
}

// Observe logs one line for each request and counts it by route and status.
// The route is the router's pattern, never the path, which the sender chooses.
func Observe(log zerolog.Logger, reg prometheus.Registerer) func(http.Handler) http.Handler {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "flowkeep_http_requests_total",
		Help: "Requests by route and status.",
	}, []string{"route", "status"})
	reg.MustRegister(requests)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			answer := &answer{ResponseWriter: w}
			answer.event.fields = answer.room[:0]
			defer func() {
				crash := recover()
				aborted := crash == http.ErrAbortHandler //nolint:errorlint // recover returns the very value
				if aborted {
					answer.event.least, crash = zerolog.WarnLevel, nil // whoever cannot end an answer has said why
				}
				cut := aborted || crash != nil && answer.status != 0
				if crash != nil && !cut {
					Problem(answer, http.StatusInternalServerError, "")
				}
				route := routeOf(r)
				requests.WithLabelValues(route, strconv.Itoa(answer.sent())).Inc()
				answer.event.write(log, methodOf(r), route, answer.sent(), time.Since(start), crash)
				if cut { // half an answer must not pass for a whole one
					panic(http.ErrAbortHandler)
				}
			}()
			next.ServeHTTP(answer, r)
		})
	}
}

// sent is the status that the sender sees.
func (a *answer) sent() int {
	if a.status == 0 {
		return http.StatusOK
	}
	return a.status
}

func routeOf(r *http.Request) string {
	if route := chi.RouteContext(r.Context()).RoutePattern(); route != "" {
		return route
	}
	return "other"
}

// methodOf returns the method, unless the sender made it up.
func methodOf(r *http.Request) string {
	if slices.Contains(methods(), r.Method) {
		return r.Method
	}
	return "other"
}

func (e *Event) write(log zerolog.Logger, method, route string, status int, took time.Duration, crash any) {
	line := log.WithLevel(max(e.least, levelOf(method, status, crash != nil)))
	if crash != nil {
		// A panic's value may quote a body; where it happened is enough.
		line.Str("stack", string(debug.Stack()))
	}
	for _, f := range e.fields {
		if f.text != "" {
			line.Str(f.name, f.text)
		} else {
			line.Int(f.name, f.count)
		}
	}
	line.Err(e.err).Str("method", method).Str("route", route).Int("status", status).Dur("took_ms", took).Msg("request")
}

// levelOf keeps probes out of the usual log and makes trouble stand out.
func levelOf(method string, status int, crashed bool) zerolog.Level {
	switch {
	case crashed, status >= http.StatusInternalServerError:
		return zerolog.ErrorLevel
	case status >= http.StatusBadRequest:
		return zerolog.WarnLevel
	case method == http.MethodGet:
		return zerolog.DebugLevel
	}
	return zerolog.InfoLevel
}
