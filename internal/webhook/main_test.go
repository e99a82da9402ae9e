package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/simulate"
	"flowkeep/internal/web"
	"flowkeep/internal/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

const (
	kapsoPath   = "/webhooks/kapso"
	metaPath    = "/webhooks/meta"
	kapsoHeader = "X-Webhook-Signature"
	metaHeader  = "X-Hub-Signature-256"

	kapsoSecret = "kapso-s3cret"
	metaSecret  = "meta-s3cret"
	verifyToken = "verify-t0ken"
)

// testConfig is what the tests run with unless they say otherwise.
func testConfig() webhook.Config {
	return webhook.Config{
		KapsoSecrets:    []string{kapsoSecret},
		MetaAppSecrets:  []string{metaSecret},
		MetaVerifyToken: verifyToken,
		MaxBodyBytes:    64 << 10,
	}
}

// fakeSink remembers what it was given and answers what KeepFunc says; without
// one, that everything was stored.
type fakeSink struct {
	KeepFunc func(ctx context.Context, d *flowparse.Delivery) (webhook.Kept, error)

	mu   sync.Mutex
	seen []*flowparse.Delivery
}

func (s *fakeSink) Keep(ctx context.Context, d *flowparse.Delivery) (webhook.Kept, error) {
	s.mu.Lock()
	s.seen = append(s.seen, d)
	s.mu.Unlock()
	if s.KeepFunc != nil {
		return s.KeepFunc(ctx, d)
	}
	return webhook.Kept{Stored: len(d.Responses), Quarantined: len(d.Rejects)}, nil
}

func (s *fakeSink) deliveries() []*flowparse.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// service is a running server with the webhook routes.
type service struct {
	*httptest.Server
	sink     *fakeSink
	registry *prometheus.Registry

	mu      sync.Mutex
	logText bytes.Buffer
	lines   chan map[string]any // the log, line by line
}

// Write takes a line of the log.
func (s *service) Write(text []byte) (int, error) {
	var line map[string]any
	if err := json.Unmarshal(text, &line); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logText.Write(text)
	s.lines <- line
	return len(text), nil
}

// start serves cfg's routes until the test ends, and then checks that the log
// gave nothing away. tune may set the server's limits.
func start(t *testing.T, cfg webhook.Config, sink *fakeSink, tune ...func(*http.Server)) *service {
	t.Helper()
	s := &service{sink: sink, registry: prometheus.NewRegistry(), lines: make(chan map[string]any, 1000)}
	r := chi.NewRouter()
	r.Use(web.Observe(zerolog.New(s), s.registry))
	r.NotFound(web.NotFound)
	r.MethodNotAllowed(web.MethodNotAllowed)
	webhook.New(cfg, sink, s.registry).Routes(r)
	s.Server = httptest.NewUnstartedServer(r)
	for _, f := range tune {
		f(s.Config)
	}
	s.Start()
	t.Cleanup(func() {
		s.Close()
		for _, word := range []string{"s3cret", "t0ken", "wamid", "sha256=", "5511987654321", "order-7", "Ada"} {
			if strings.Contains(s.logText.String(), word) {
				t.Errorf("the log gives away %q:\n%s", word, s.logText.String())
			}
		}
	})
	return s
}

// nextLine waits for the log's next line.
func (s *service) nextLine(t *testing.T) map[string]any {
	t.Helper()
	select {
	case line := <-s.lines:
		return line
	case <-time.After(patience):
		t.Fatal("no log line")
		return nil
	}
}

// wantMetrics checks that /metrics has exactly these lines of the family name.
func (s *service) wantMetrics(t *testing.T, name string, want ...string) {
	t.Helper()
	page := httptest.NewRecorder()
	promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	var got []string
	for line := range strings.Lines(page.Body.String()) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			got = append(got, strings.TrimSpace(rest))
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("metric %s:\n%s\nwant:\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

type answer struct {
	status int
	header http.Header
	body   string
}

func readAnswer(t *testing.T, resp *http.Response) answer {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// send sends a request. headers are names and values in turn.
func (s *service) send(t *testing.T, method, path string, body io.Reader, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, resp)
}

// deliver posts body as Kapso does.
func (s *service) deliver(t *testing.T, body string, headers ...string) answer {
	t.Helper()
	headers = append(headers, kapsoHeader, simulate.Sign(kapsoSecret, []byte(body)))
	return s.send(t, http.MethodPost, kapsoPath, strings.NewReader(body), headers...)
}

// wantProblem checks that a is a whole problem document for this status.
func wantProblem(t *testing.T, a answer, status int) {
	t.Helper()
	var doc struct {
		Type, Title string
		Status      int
	}
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
		t.Fatalf("status %d, problem %q: %v", a.status, a.body, err)
	}
	if a.status != status || doc.Status != status || doc.Title != http.StatusText(status) || doc.Type == "" {
		t.Errorf("status %d, problem %s; want %d", a.status, a.body, status)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
}

// response is a Kapso body with one Flow response, text one with a message
// that is none.
const (
	response = `{"message":{"id":"wamid.A","type":"interactive","timestamp":"1760000000","from":"5511987654321","interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","body":"Sent","response_json":"{\"flow_token\":\"order-7\",\"name\":\"Ada\"}"}}},"conversation":{},"is_new_conversation":false,"phone_number_id":"1"}`
	text     = `{"message":{"id":"wamid.B","type":"text","timestamp":"1760000000","from":"5511987654321","text":{"body":"hi"}},"conversation":{},"phone_number_id":"1"}`
)

// metaBody is Meta's body with one Flow response.
const metaBody = `{"object":"whatsapp_business_account","entry":[{"id":"9","changes":[{"field":"messages","value":{"messaging_product":"whatsapp","metadata":{"phone_number_id":"1"},"contacts":[{"profile":{"name":"Ada"},"wa_id":"5511987654321"}],"messages":[{"from":"5511987654321","id":"wamid.C","timestamp":"1760000000","type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","body":"Sent","response_json":"{\"flow_token\":\"order-7\"}"}}}]}}]}]}`
