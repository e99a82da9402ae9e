package kapso_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"flowkeep/internal/kapso"
)

// The key goes to no other host, and neither the key nor the recipient's number
// is in an error, whatever the server repeats.
func TestErrors_HoldNoSecret(t *testing.T) {
	t.Parallel()
	elsewhere := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed: %v", r.Header)
	}))
	echo := fmt.Sprintf(`{"error":{"message":"key %s \u001b[31m","type":"OAuthException","code":131030,"error_data":{"details":"number +15551234567 %s"}}}`,
		testKey, strings.Repeat("long ", 10_000))
	for name, answer := range map[string]http.HandlerFunc{
		"echo": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, echo)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		},
		"cut": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"kapso": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			fmt.Fprint(w, `{"error":"`+testKey+`"}`)
		},
	} {
		client := clientOf(t, serve(t, answer))
		_, err := client.Send(t.Context(), bookingRequest(t))
		for _, text := range []string{fmt.Sprint(err), fmt.Sprintf("%+v %#v", err, err), fmt.Sprintf("%v %+v %#v", client, client, *client)} {
			if strings.Contains(text, testKey) || strings.Contains(text, "5551234567") || strings.Contains(text, "\x1b") {
				t.Errorf("%s: %s", name, text)
			}
		}
		if err == nil || len(err.Error()) > 1000 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestError_Forms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		body   string
		want   kapso.Error
		final  bool
	}{
		{
			400, `{"error":{"message":"m","type":"OAuthException","code":100,"error_subcode":33,"error_data":{"details":"d"},"fbtrace_id":"f"}}`,
			kapso.Error{Status: 400, Code: 100, Subcode: 33, Type: "OAuthException", Message: "m", Details: "d", TraceID: "f"},
			true,
		},
		{422, `{"error":"Contact stopped","code":"marketing_preference_stopped"}`, kapso.Error{Status: 422, Word: "marketing_preference_stopped", Message: "Contact stopped"}, true},
		{500, `{"error":{"message":"m","code":"131049"}}`, kapso.Error{Status: 500, Message: "m", Word: "131049"}, false},
		{400, `{"error":{"message":"m","code":131048,"error_data":"text"}}`, kapso.Error{Status: 400, Code: 131048, Message: "m"}, false},
		{429, `{"error":{"message":"m","code":131049}}`, kapso.Error{Status: 429, Code: 131049, Message: "m"}, true},
		{403, `[]`, kapso.Error{Status: 403}, true},
		{403, `{"error":null}`, kapso.Error{Status: 403}, true},
		{302, ``, kapso.Error{Status: 302}, true},
	} {
		client := clientOf(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		})))
		_, err := client.Send(t.Context(), bookingRequest(t))
		got, ok := errors.AsType[*kapso.Error](err)
		if !ok || *got != c.want || got.Temporary() == c.final {
			t.Errorf("%d %s: %+v", c.status, c.body, got)
		}
	}
}

func TestNew_Addresses(t *testing.T) {
	t.Parallel()
	for address, ok := range map[string]bool{
		"": true, "https://api.kapso.ai/meta/whatsapp/": true, "http://127.0.0.1:4000/x": true, "http://[::1]:4000": true, "http://localhost": true,
		"http://api.kapso.ai": false, "http://10.0.0.1": false, "ftp://localhost": false, "https://user:hunter2@example.com": false,
		"https://example.com?x=1": false, "api.kapso.ai": false, "https://": false, "://": false, "https:x": false,
	} {
		_, err := kapso.New(address, testKey)
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", address, err)
		}
	}
	for _, key := range []string{"x y", "x\ny", "ä"} {
		if _, err := kapso.New("", key); err == nil || strings.Contains(err.Error(), key) {
			t.Errorf("%q: %v", key, err)
		}
	}
}
