package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const apiToken = "a token to read with"

// ask sends a GET with an Authorization header, unless that is empty.
func ask(t *testing.T, url, authorization string) (status int, contentType string, answer map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_ = json.NewDecoder(resp.Body).Decode(&answer) // not all of them are JSON
	return resp.StatusCode, resp.Header.Get("Content-Type"), answer
}

func TestAPI_WithoutTokensThereIsNone(t *testing.T) {
	t.Parallel()
	app := startApp(t, testConfig(t))
	_, _, unknown := ask(t, app.URL()+"/api/v2", "")
	for _, path := range []string{"/api/v1", "/api/v1/responses", "/api/v1/openapi.yaml", "/api/v1/flows/1/responses.csv"} {
		status, _, answer := ask(t, app.URL()+path, "Bearer "+apiToken)
		if status != http.StatusNotFound || answer["detail"] != unknown["detail"] {
			t.Errorf("%s: %d %v", path, status, answer)
		}
	}
	if _, metrics := get(t, app.URL()+"/metrics"); strings.Contains(metrics, `route="/api`) {
		t.Error("a path that is not there has a metric")
	}
}

func TestAPI_ReadsWhatWasDelivered(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("another one of some length, "+apiToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := readConfig([]string{"FLOWKEEP_API_TOKENS_FILE=" + file, "HOME=/h"})
	if err != nil || read.APITokens != nil || len(read.unknown) > 0 {
		t.Fatalf("%v %q", err, read.unknown)
	}
	cfg.apiTokens = read.apiTokens
	app := startApp(t, cfg)
	deliver(t, app, 1, "stored", flowItem("wamid.a/b==", "hi"))
	status, _, answer := ask(t, app.URL()+"/api/v1/responses", "Bearer "+apiToken)
	if list, _ := answer["responses"].([]any); status != http.StatusOK || len(list) != 1 {
		t.Errorf("%d %v", status, answer)
	}
	if status, _, answer := ask(t, app.URL()+"/api/v1/responses/wamid.a%2Fb==", "Bearer "+apiToken); status != http.StatusOK || answer["message_id"] != "wamid.a/b==" {
		t.Errorf("%d %v", status, answer)
	}
	if status, contentType, _ := ask(t, app.URL()+"/api/v1/responses", ""); status != http.StatusUnauthorized || contentType != "application/problem+json" {
		t.Errorf("%d %s", status, contentType)
	}
	if status, _, _ := ask(t, app.URL()+"/api/v1/responses", "Bearer "+strings.Repeat("x", 3*headerBytes)); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a huge header: %d", status)
	}
	if _, metrics := get(t, app.URL()+"/metrics"); !strings.Contains(metrics, `flowkeep_http_requests_total{route="/api/v1/responses/{message_id}",status="200"} 1`) {
		t.Error("the route has no metric")
	}
}

func TestConfig_APITokens(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		" , ":               "holds no token",
		"too short":         "token 1: it has fewer than 16 characters",
		"sha256:zz":         "64 hex digits",
		apiToken + ",short": "token 2: it has fewer",
	} {
		_, err := readConfig([]string{"FLOWKEEP_API_TOKENS=" + text, "HOME=/h"})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), apiToken) || strings.Contains(err.Error(), "too short") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
