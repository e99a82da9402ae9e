package web_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"

	"flowkeep/internal/web"
)

// wantProblem checks that a is a whole problem document.
func wantProblem(t *testing.T, a answer, status int) {
	t.Helper()
	var doc struct {
		Type, Title string
		Status      int
	}
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
		t.Fatalf("problem %q: %v", a.body, err)
	}
	if a.status != status || doc.Status != status || doc.Title != http.StatusText(status) || doc.Type != "about:blank" {
		t.Errorf("status %d, problem %s; want %d", a.status, a.body, status)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
}

func TestNotFoundAndMethodNotAllowed(t *testing.T) {
	t.Parallel()
	s := newService(t, func(r chi.Router) {
		r.Get("/things/{id}", ok)
		r.Post("/things/{id}", ok)
		r.Get("/only", ok)
	})
	for _, c := range []struct {
		method, path string
		status       int
		allow        []string
	}{
		{http.MethodGet, "/nothing", 404, nil},
		{http.MethodPost, "/only/", 404, nil},
		{"BREW", "/nothing", 404, nil},
		{http.MethodDelete, "/things/7", 405, []string{"GET, POST"}},
		{http.MethodDelete, "/things/a%2Fb", 405, []string{"GET, POST"}},
		{http.MethodPost, "/only?x=1", 405, []string{"GET"}},
		{"BREW", "/only", 405, []string{"GET"}},
	} {
		a := s.send(t, c.method, c.path, "")
		wantProblem(t, a, c.status)
		if diff := cmp.Diff(c.allow, a.header.Values("Allow")); diff != "" {
			t.Errorf("%s %s: Allow (-want +got):\n%s", c.method, c.path, diff)
		}
	}
}

func TestMethodNotAllowed_WithoutRouter(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	web.MethodNotAllowed(w, httptest.NewRequest(http.MethodPut, "/", nil))
	wantProblem(t, answer{w.Code, w.Header(), w.Body.String()}, 404)
}

func TestWriteJSON(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	web.WriteJSON(w, http.StatusAccepted, map[string]int{"n": 3})
	if w.Code != http.StatusAccepted || w.Body.String() != "{\"n\":3}\n" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
	}
}

func TestWriteJSON_WhatHasNoJSON(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	web.WriteJSON(w, http.StatusOK, func() {})
	wantProblem(t, answer{w.Code, w.Header(), w.Body.String()}, 500)
}

func TestProblem_TellsWhatToDo(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	web.Problem(w, http.StatusTeapot, `Use "coffee" <instead>.`)
	wantProblem(t, answer{w.Code, w.Header(), w.Body.String()}, http.StatusTeapot)
	var doc struct{ Detail string }
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.Detail != `Use "coffee" <instead>.` {
		t.Errorf("detail %q, %v", doc.Detail, err)
	}
}
