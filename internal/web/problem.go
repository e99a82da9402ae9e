// Package web holds the HTTP manners that every route shares: problem answers,
// one log line and one count for each request, and recovery from panics.
package web

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
)

// WriteJSON answers with status and v as JSON. The value must marshal.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		Problem(w, http.StatusInternalServerError, "")
		return
	}
	write(w, status, "application/json", body)
}

// Problem answers with an RFC 9457 problem document. The detail is for the
// sender: what is wrong and what to do. It never holds internal text.
func Problem(w http.ResponseWriter, status int, detail string) {
	body, _ := json.Marshal(struct { // strings and an int always marshal
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{"about:blank", http.StatusText(status), status, detail})
	write(w, status, "application/problem+json", body)
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a sender that is gone misses its answer
}

// NotFound answers 404.
func NotFound(w http.ResponseWriter, _ *http.Request) {
	Problem(w, http.StatusNotFound, "There is nothing at this address.")
}

// MethodNotAllowed answers 405 and says which methods the address takes. The
// router also asks it about methods that nobody knows; where there is no such
// address at all, that is a 404.
func MethodNotAllowed(w http.ResponseWriter, r *http.Request) {
	allowed := allowedMethods(r)
	if len(allowed) == 0 {
		NotFound(w, r)
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	Problem(w, http.StatusMethodNotAllowed, "This address does not take this method.")
}

func allowedMethods(r *http.Request) (allowed []string) {
	routing := chi.RouteContext(r.Context())
	if routing == nil {
		return nil
	}
	path := r.URL.RawPath // as the router reads it
	if path == "" {
		path = r.URL.Path
	}
	for _, method := range methods() {
		if routing.Routes.Match(chi.NewRouteContext(), method, path) {
			allowed = append(allowed, method)
		}
	}
	return allowed
}

func methods() []string {
	return []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace,
	}
}
