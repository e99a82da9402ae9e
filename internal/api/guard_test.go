package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"flowkeep/internal/api"
)

func TestGuard_OnlyATokenInTheHeader(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.store(1, 1)
	for _, header := range []http.Header{
		nil,
		{"Authorization": {""}},
		{"Authorization": {"Bearer"}},
		{"Authorization": {"Bearer "}},
		{"Authorization": {token}},
		{"Authorization": {"Basic " + token}},
		{"Authorization": {"Bearer " + token + " "}, "X": {"trimmed by net/http, so this one is valid"}},
		{"Authorization": {"Bearer  " + token}},
		{"Authorization": {"Bearer " + strings.ToUpper(token)}},
		{"Authorization": {"Bearer " + token[1:]}},
		{"Authorization": {"Bearer " + token, "Bearer " + token}},
		{"Authorization": {"Bearer sha256:" + hashed()}},
		{"Authorization": {"Bearer " + hashed()}},
		{"Authorization": {"Bearer " + strings.Repeat("x", 100_000)}},
		{"X-Api-Key": {token}},
		{"Cookie": {"token=" + token}},
	} {
		want := http.StatusUnauthorized
		if header.Get("X") != "" {
			want = http.StatusOK
		}
		a := s.ask(http.MethodGet, "/api/v1/responses", header)
		if a.StatusCode != want || (want != 200 && (a.Header.Get("WWW-Authenticate") != `Bearer realm="flowkeep"` || strings.Contains(a.body, "wamid"))) {
			t.Errorf("%.60v: %d %v", header, a.StatusCode, a.Header)
		}
	}
	for _, path := range []string{"/api/v1/responses?access_token=" + strings.ReplaceAll(token, " ", "+"), "/api/v1/responses/x", "/api/v1/flows", "/api/v1/flows/x/responses.csv"} {
		if a := s.ask(http.MethodGet, path, nil); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
}

// hashed is the hex SHA-256 of the token.
func hashed() string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Who guesses is slowed down, and nobody else; who has a token is, too, alone.
func TestGuard_Rates(t *testing.T) {
	t.Parallel()
	s := newService(t)
	statuses := map[int]int{}
	for range 200 {
		a := s.ask(http.MethodGet, "/api/v1/openapi.yaml", nil)
		if a.StatusCode != http.StatusOK {
			t.Fatal(a.StatusCode)
		}
		a = s.ask(http.MethodGet, "/api/v1/flows", http.Header{"Authorization": {"Bearer wrong"}})
		if statuses[a.StatusCode]++; a.StatusCode == http.StatusTooManyRequests && a.Header.Get("Retry-After") == "" {
			t.Errorf("%v", a.Header)
		}
	}
	if statuses[http.StatusUnauthorized] < 50 || statuses[http.StatusTooManyRequests] == 0 {
		t.Errorf("guesses: %v", statuses)
	}
	if a := s.get("/api/v1/flows"); a.StatusCode != http.StatusOK {
		t.Errorf("the holder of a token was kept out: %d", a.StatusCode)
	}
}

func TestParseTokens(t *testing.T) {
	t.Parallel()
	tokens, err := api.ParseTokens([]string{token, "sha256:" + hashed(), "sha256:" + strings.ToUpper(hashed())})
	if err != nil || tokens[0] != tokens[1] || tokens[0] != tokens[2] {
		t.Errorf("%v %v", tokens, err)
	}
	_, err = api.ParseTokens([]string{"short secret", token, "sha256:ab", "sha256:" + hashed() + "00"})
	if err == nil || strings.Contains(err.Error(), "short secret") || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"token 1: it has fewer than 16", "token 3: after sha256:", "token 4: after sha256:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}
