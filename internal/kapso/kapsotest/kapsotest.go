// Package kapsotest plays Kapso's history and platform API for tests, over real
// HTTP and as far as kapso-facts.md tells: cursors, odd fields, rate limits, and
// lists that grow under the reader. It is never part of a binary.
package kapsotest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"flowkeep/internal/simulate"
)

// Key is the API key that a Server takes.
const Key = "key-for-tests"

// Server is a Kapso. It shows its lists newest first.
type Server struct {
	url string

	mu         sync.Mutex
	numbers    []string
	log        map[string][]json.RawMessage // events of log_search by number, oldest first
	logAway    bool
	messages   map[string][]message // by number, oldest first
	webhooks   []map[string]any
	deliveries []map[string]any
	requests   int
	broken     func(n int, r *http.Request) int // the status of request number n; 0 = as usual
	grow       func()                           // after each page
	circle     bool
	secret     string // that the webhooks' deliveries are signed with
}

type message struct {
	at   time.Time
	json json.RawMessage
}

// New starts a Server that ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{log: map[string][]json.RawMessage{}, messages: map[string][]message{}, grow: func() {}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /platform/v1/log_search", s.searchLog)
	mux.HandleFunc("GET /meta/whatsapp/v24.0/{number}/messages", s.history)
	mux.HandleFunc("GET /platform/v1/whatsapp/phone_numbers", s.listNumbers)
	mux.HandleFunc("GET /platform/v1/whatsapp/phone_numbers/{number}/webhooks", s.listWebhooks)
	mux.HandleFunc("POST /platform/v1/whatsapp/phone_numbers/{number}/webhooks", s.createWebhook)
	mux.HandleFunc("PATCH /platform/v1/whatsapp/phone_numbers/{number}/webhooks/{id}", s.changeWebhook)
	mux.HandleFunc("POST /platform/v1/whatsapp/webhooks/{id}/test", s.testWebhook)
	mux.HandleFunc("GET /platform/v1/webhook_deliveries", s.listDeliveries)
	server := httptest.NewServer(s.guard(mux))
	t.Cleanup(server.Close)
	s.url = server.URL + "/meta/whatsapp"
	return s
}

// URL is what KAPSO_BASE_URL must say.
func (s *Server) URL() string { return s.url }

// guard checks the key and orders failures.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests++
		status := 0
		if s.broken != nil {
			status = s.broken(s.requests, r)
		}
		s.mu.Unlock()
		switch {
		case r.Header.Get("X-API-Key") != Key:
			answer(w, http.StatusUnauthorized, map[string]string{"error": "Invalid API key"})
		case status != 0:
			if status == http.StatusTooManyRequests {
				w.Header().Set("Retry-After", "1")
			}
			answer(w, status, map[string]string{"error": "ordered by the test"})
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// Break makes requests fail: status returns what request number n, counted from
// 1, is answered with, or 0.
func (s *Server) Break(status func(n int, r *http.Request) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = status
}

// Grow has change called after each page, for lists that change under the
// reader.
func (s *Server) Grow(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grow = change
}

// Circle makes every list's cursors lead back to its second page.
func (s *Server) Circle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.circle = true
}

// HideLog makes the log unavailable.
func (s *Server) HideLog() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logAway = true
}

// Requests returns how many requests came.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// AddNumber adds a number to the project.
func (s *Server) AddNumber(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.numbers = append(s.numbers, id)
}

// AddLog puts an event at the front of a number's log.
func (s *Server) AddLog(number string, event any) {
	token, _ := json.Marshal(event)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log[number] = append(s.log[number], token)
}

// AddMessage puts a message at the front of a number's history.
func (s *Server) AddMessage(number string, at time.Time, token json.RawMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages[number] = append(s.messages[number], message{at, token})
}

// page cuts a page out of a list and returns the cursor of the next. A cursor is
// a place in the list: what is added at the front shifts the others.
func (s *Server) page(list []json.RawMessage, cursor, limit string) (page []json.RawMessage, next string) {
	from, _ := strconv.Atoi(cursor)
	size, _ := strconv.Atoi(limit)
	to := min(from+min(size, 100), len(list))
	page = slices.Clone(list[len(list)-to : len(list)-min(from, to)])
	slices.Reverse(page)
	if to < len(list) {
		next = strconv.Itoa(to)
	} else if s.circle && len(list) > size {
		next = strconv.Itoa(size)
	}
	return page, next
}

// searchLog knows periods of 24 h and 7 days, like the OpenAPI description.
func (s *Server) searchLog(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Source, Period, Cursor string
		Limit                  int
		Filters                map[string]string
	}
	if json.NewDecoder(r.Body).Decode(&q) != nil || q.Source != "webhook_delivery" || !slices.Contains([]string{"24h", "7d"}, q.Period) {
		answer(w, http.StatusUnprocessableEntity, map[string]string{"error": "Invalid period"})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	events, next := s.page(s.log[q.Filters["phone_number_id"]], q.Cursor, strconv.Itoa(q.Limit))
	pagination := map[string]any{"has_more": next != "", "next_cursor": nil}
	if next != "" {
		pagination["next_cursor"] = next
	}
	answer(w, http.StatusOK, map[string]any{"data": map[string]any{
		"available": !s.logAway, "source": "webhook_delivery", "events": events, "pagination": pagination,
	}})
	s.changed()
}

func (s *Server) history(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	since, errSince := time.Parse(time.RFC3339, q.Get("since"))
	until, errUntil := time.Parse(time.RFC3339, q.Get("until"))
	if errSince != nil || errUntil != nil || q.Get("direction") != "inbound" {
		answer(w, http.StatusBadRequest, map[string]any{"error": map[string]any{"message": "Invalid parameter", "type": "OAuthException", "code": 100}})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []json.RawMessage
	for _, m := range s.messages[r.PathValue("number")] {
		if !m.at.Before(since) && !m.at.After(until) {
			list = append(list, m.json)
		}
	}
	messages, next := s.page(list, q.Get("after"), q.Get("limit"))
	paging := map[string]any{"cursors": map[string]any{"before": q.Get("after"), "after": next}}
	answer(w, http.StatusOK, map[string]any{"data": messages, "paging": paging})
	s.changed()
}

// changed lets the lists change. s.mu is held, and let go of meanwhile.
func (s *Server) changed() {
	grow := s.grow
	s.mu.Unlock()
	grow()
	s.mu.Lock()
}

func (s *Server) listNumbers(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []map[string]string{}
	for _, id := range s.numbers {
		list = append(list, map[string]string{"id": id, "phone_number_id": id, "name": "a number"})
	}
	answer(w, http.StatusOK, map[string]any{"data": list, "meta": map[string]int{"page": 1, "total_pages": 1}})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// sign is what the webhook's deliveries are signed with.
func (s *Server) sign(body []byte) string { return simulate.Sign(s.secret, body) }

func missing(w http.ResponseWriter, what string) {
	answer(w, http.StatusNotFound, map[string]string{"error": fmt.Sprintf("%s not found", what)})
}

// Numbers returns the project's numbers.
func (s *Server) Numbers() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.numbers)
}
