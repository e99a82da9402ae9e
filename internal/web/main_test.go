package web_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"flowkeep/internal/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a server that is observed, with what it logged and counted.
type service struct {
	*httptest.Server
	registry *prometheus.Registry

	mu   sync.Mutex
	text bytes.Buffer
}

// Write takes a line of the log.
func (s *service) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(line)
}

func newService(t *testing.T, routes func(chi.Router)) *service {
	t.Helper()
	s := &service{registry: prometheus.NewRegistry()}
	r := chi.NewRouter()
	r.Use(web.Observe(zerolog.New(s), s.registry))
	r.NotFound(web.NotFound)
	r.MethodNotAllowed(web.MethodNotAllowed)
	routes(r)
	s.Server = httptest.NewServer(r)
	t.Cleanup(s.Close)
	return s
}

// log returns all that was logged. A short answer is only sent once its
// request was logged, so there is nothing to wait for.
func (s *service) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// lines returns the log's lines, read.
func (s *service) lines(t *testing.T) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for text := range strings.Lines(s.log()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("log line %q: %v", text, err)
		}
		lines = append(lines, line)
	}
	return lines
}

// requests returns the lines of /metrics that count requests.
func (s *service) requests(t *testing.T) []string {
	t.Helper()
	page := httptest.NewRecorder()
	promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	var counts []string
	for line := range strings.Lines(page.Body.String()) {
		if strings.HasPrefix(line, "flowkeep_http_requests_total{") {
			counts = append(counts, strings.TrimSpace(line))
		}
	}
	return counts
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (s *service) send(t *testing.T, method, path, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}
