package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"flowkeep/internal/web"
)

func ok(w http.ResponseWriter, _ *http.Request) { web.WriteJSON(w, http.StatusOK, "ok") }

func TestObserve_LogsOneLineOfOurOwnWords(t *testing.T) {
	t.Parallel()
	s := newService(t, func(r chi.Router) {
		r.Post("/people/{name}", func(w http.ResponseWriter, r *http.Request) {
			event := web.EventOf(w)
			event.Count("stored", 3)
			event.Count("ignored", 0)
			event.Text("source", "kapso")
			event.Text("reason", "")
			event.Fail(errors.New("the disk is full"))
			web.Problem(w, http.StatusServiceUnavailable, "Come again.")
		})
	})
	wantProblem(t, s.send(t, http.MethodPost, "/people/Ada?token=hush", "my-body"), 503)
	lines := s.lines(t)
	if len(lines) != 1 {
		t.Fatalf("%d lines:\n%s", len(lines), s.log())
	}
	if took, ok := lines[0]["took_ms"].(float64); !ok || took < 0 || took > 60_000 {
		t.Errorf("took_ms: %v", lines[0]["took_ms"])
	}
	delete(lines[0], "took_ms")
	want := map[string]any{
		"level": "error", "message": "request", "method": "POST", "route": "/people/{name}", "status": 503.0,
		"stored": 3.0, "source": "kapso", "error": "the disk is full",
	}
	if diff := cmp.Diff(want, lines[0]); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func TestObserve_Levels(t *testing.T) {
	t.Parallel()
	s := newService(t, func(r chi.Router) {
		for _, status := range []int{200, 401, 500} {
			r.HandleFunc(fmt.Sprintf("/%d", status), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		}
		r.Post("/silent", func(http.ResponseWriter, *http.Request) {}) // net/http makes this a 200
	})
	for _, c := range []struct{ method, path, level string }{
		{http.MethodGet, "/200", "debug"},
		{http.MethodPost, "/200", "info"},
		{http.MethodPost, "/silent", "info"},
		{http.MethodGet, "/401", "warn"},
		{http.MethodPost, "/500", "error"},
	} {
		s.send(t, c.method, c.path, "")
		lines := s.lines(t)
		if got := lines[len(lines)-1]["level"]; got != c.level {
			t.Errorf("%s %s is logged at %v, want %s", c.method, c.path, got, c.level)
		}
	}
}

func TestObserve_LabelsCannotGrow(t *testing.T) {
	t.Parallel()
	s := newService(t, func(r chi.Router) { r.Post("/things/{id}", ok) })
	for i := range 20 {
		s.send(t, http.MethodGet, fmt.Sprintf("/made-up-%d", i), "")
		s.send(t, fmt.Sprintf("MADEUP%d", i), "/things/1", "")
		s.send(t, http.MethodPost, fmt.Sprintf("/things/made-up-%d", i), "")
	}
	want := []string{
		`flowkeep_http_requests_total{route="/things/{id}",status="200"} 20`,
		`flowkeep_http_requests_total{route="other",status="404"} 20`,
		`flowkeep_http_requests_total{route="other",status="405"} 20`,
	}
	if diff := cmp.Diff(want, s.requests(t)); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	if log := s.log(); strings.Contains(log, "made-up") || strings.Contains(log, "MADEUP") {
		t.Errorf("the log repeats what senders make up:\n%s", log)
	}
}

func TestObserve_PanicIsA500(t *testing.T) {
	t.Parallel()
	s := newService(t, func(r chi.Router) {
		r.Post("/crash", func(http.ResponseWriter, *http.Request) { crashOn("hush") })
	})
	a := s.send(t, http.MethodPost, "/crash", "")
	wantProblem(t, a, 500)
	if strings.Contains(a.body, "hush") || strings.Contains(a.body, "goroutine") {
		t.Errorf("the answer tells about the inside: %s", a.body)
	}
	lines := s.lines(t)
	if len(lines) != 1 {
		t.Fatalf("%d lines", len(lines))
	}
	if stack, _ := lines[0]["stack"].(string); !strings.Contains(stack, "crashOn") {
		t.Errorf("the stack does not tell where it happened: %s", stack)
	}
	if strings.Contains(s.log(), "hush") {
		t.Errorf("the log holds the panic's value:\n%s", s.log())
	}
	if diff := cmp.Diff([]string{`flowkeep_http_requests_total{route="/crash",status="500"} 1`}, s.requests(t)); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

//go:noinline
func crashOn(value string) { panic("cannot read " + value) }

func TestObserve_PanicInTheMiddleOfAnAnswerCutsIt(t *testing.T) {
	t.Parallel()
	s := newService(t, func(r chi.Router) {
		r.Get("/half", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("half of an"))
			panic("hush")
		})
		r.Get("/chunked", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusOK)
			panic("hush")
		})
		r.Get("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	})
	for _, path := range []string{"/half", "/chunked", "/abort"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := s.Client().Do(req); err == nil {
			resp.Body.Close()
			t.Errorf("%s: status %d reached the sender", path, resp.StatusCode)
		}
	}
	for _, line := range s.lines(t) {
		level, stack := "error", true
		if line["route"] == "/abort" {
			level, stack = "warn", false
		}
		if line["level"] != level || (line["stack"] != nil) != stack {
			t.Errorf("a panic is logged as %v", line)
		}
	}
	if strings.Contains(s.log(), "hush") {
		t.Errorf("the log holds the panic's value:\n%s", s.log())
	}
}

func TestObserve_WithoutRouter(t *testing.T) {
	t.Parallel()
	s := &service{registry: prometheus.NewRegistry()}
	h := web.Observe(zerolog.New(s), s.registry)(http.HandlerFunc(ok))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/secret-path", nil))
	if lines := s.lines(t); len(lines) != 1 || lines[0]["route"] != "other" {
		t.Errorf("log:\n%s", s.log())
	}
}

func TestEventOf_OutsideOfObserve(t *testing.T) {
	t.Parallel()
	event := web.EventOf(httptest.NewRecorder())
	event.Count("stored", 1)
	event.Text("source", "kapso")
	event.Fail(errors.New("nobody reads this"))
}
