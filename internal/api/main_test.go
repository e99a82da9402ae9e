package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"flowkeep/internal/api"
	"flowkeep/internal/store/flows"
	"flowkeep/internal/store/read"
	"flowkeep/internal/store/storetest"
	"flowkeep/internal/web"
)

const (
	token  = "a token for these tests"
	flowID = "1197715005513101"
)

var postgres *storetest.Server

func TestMain(m *testing.M) {
	os.Exit(storetest.Run(m, func(s *storetest.Server) { postgres = s }))
}

// service is the API on a database, as the server runs it.
type service struct {
	*httptest.Server
	t        *testing.T
	database string
	conn     *pgx.Conn
	router   chi.Router
	handler  *api.Handler
	registry *prometheus.Registry

	mu  sync.Mutex
	log bytes.Buffer
}

// Write takes a line of the log.
func (s *service) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(line)
}

func (s *service) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{t: t, database: postgres.New(t)}
	var err error
	if s.conn, err = pgx.Connect(t.Context(), s.database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.conn.Close(context.Background()) })
	s.serve(s.database)
	return s
}

// serve starts the API for a database's address.
func (s *service) serve(database string) {
	s.t.Helper()
	s.registry, s.router = prometheus.NewRegistry(), chi.NewRouter()
	reader, err := read.Open(database, api.Sessions)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(reader.Close)
	tokens, err := api.ParseTokens([]string{"another token of the same length", token})
	if err != nil {
		s.t.Fatal(err)
	}
	s.handler = api.New(reader, tokens)
	s.router.Use(web.Observe(zerolog.New(s), s.registry))
	s.router.NotFound(web.NotFound)
	s.router.MethodNotAllowed(web.MethodNotAllowed)
	s.handler.Routes(s.router)
	s.Server = httptest.NewUnstartedServer(s.router)
	s.Config.ReadTimeout = time.Second // less than a stream takes
	s.Start()
	s.t.Cleanup(s.Close)
}

// store adds n responses of the flow, newest last, with answers of so many bytes.
func (s *service) store(n, size int) {
	s.t.Helper()
	s.exec(`INSERT INTO flow_responses (message_id, flow_token, token_kind, flow_id, response, response_status, wa_id, source, raw, received_at, stored_at)
		SELECT 'wamid.' || n || '/=+%', $1, 'flow_id', $1, jsonb_build_object('n', n, 'text', repeat('x', $3), 'html', '<&>'), 'ok', '15551234567', 'kapso', 'secret bytes',
			timestamptz '2026-01-01Z' + n * interval '1 hour', timestamptz '2026-01-01Z' + n * interval '1 hour'
		FROM generate_series(1, $2) AS n`, flowID, n, size)
}

func (s *service) sync() {
	s.t.Helper()
	k, err := flows.Open(s.database, nil, zerolog.Nop())
	if err != nil {
		s.t.Fatal(err)
	}
	defer k.Close()
	if _, err := k.Sync(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.conn.Exec(s.t.Context(), sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

type answer struct {
	*http.Response
	body string
}

// get asks with the token.
func (s *service) get(path string) answer {
	s.t.Helper()
	return s.ask(http.MethodGet, path, http.Header{"Authorization": {"Bearer " + token}})
}

func (s *service) ask(method, path string, header http.Header) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header = header
	resp, err := s.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{resp, string(body)}
}

// metrics returns the page of /metrics.
func (s *service) metrics() string {
	page := httptest.NewRecorder()
	promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return page.Body.String()
}

// readers counts the sessions of the API that are in a transaction.
func (s *service) readers() (n int) {
	s.t.Helper()
	if err := s.conn.QueryRow(s.t.Context(), `SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = 'flowkeep reader' AND xact_start IS NOT NULL`).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func wamid(n int) string { return fmt.Sprintf("wamid.%d/=+%%", n) }
