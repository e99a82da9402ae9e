package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"flowkeep/internal/kapso/kapsotest"
)

// runWebhook is "flowkeep webhook" against a Kapso of the test's.
func runWebhook(t *testing.T, k *kapsotest.Server, args ...string) (code int, out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := program{
		environ: []string{
			"KAPSO_WEBHOOK_SECRET=" + testSecret + ",an older one", "FLOWKEEP_DATA_DIR=" + t.TempDir(),
			"KAPSO_API_KEY=" + kapsotest.Key, "KAPSO_BASE_URL=" + k.URL(),
		},
		stdout: &stdout, stderr: &stderr,
	}
	code = run(t.Context(), p, append([]string{"webhook"}, append(args, "--phone-number-id", testNumber)...))
	out = stdout.String() + stderr.String()
	for _, secret := range []string{testSecret, "an older one", kapsotest.Key} {
		if strings.Contains(out, secret) {
			t.Errorf("%v prints a secret:\n%s", args, out)
		}
	}
	return code, out
}

// demand fails the test if the output lacks a part.
func demand(t *testing.T, code, wantCode int, out string, parts ...string) {
	t.Helper()
	if code != wantCode {
		t.Errorf("exit code %d, want %d:\n%s", code, wantCode, out)
	}
	for _, part := range parts {
		if !strings.Contains(out, part) {
			t.Errorf("%q is missing in\n%s", part, out)
		}
	}
}

// Everything that can be wrong is found, said with what to do, and changed only
// by the command that says so.
func TestWebhook_FindsAndMends(t *testing.T) {
	t.Parallel()
	k := kapsotest.New(t)
	const address = "https://example.com/webhooks/kapso"
	code, out := runWebhook(t, k, "check")
	demand(t, code, 1, out, "PROBLEM  webhook", "no webhook that points here", "flowkeep webhook create")

	k.AddWebhook(testNumber, map[string]any{"url": "https://example.com/other", "active": false})
	k.AddWebhook(testNumber, map[string]any{
		"url": address, "active": false, "payload_version": "v1", "buffer_enabled": true,
		"events": []string{"whatsapp.message.sent"}, "secret_key": "drifted",
	})
	for _, status := range []any{401, 401, nil, 200} {
		word := "failed"
		if status == 200 {
			word = "delivered"
		}
		k.AddDelivery(map[string]any{"webhook_id": "hook-2", "status": word, "response_status": status})
	}
	code, out = runWebhook(t, k, "check")
	demand(t, code, 1, out, "paused: Kapso delivers nothing", "flowkeep webhook resume", "payload version v1", "buffering is on",
		"not subscribed to whatsapp.message.received", "none of those configured here", "of the last 4", "1 delivered",
		"2 failed with status 401", "1 failed without an answer", "reachable over HTTPS")
	if strings.Contains(out, "drifted") {
		t.Errorf("prints Kapso's secret:\n%s", out)
	}

	code, out = runWebhook(t, k, "resume")
	demand(t, code, 0, out, "active again", "flowkeep backfill")
	if w := k.Webhook("hook-2"); w["active"] != true || w["payload_version"] != "v1" || w["secret_key"] != "drifted" {
		t.Errorf("resume changed more than it says: %v", w)
	}
	code, out = runWebhook(t, k, "create", "--url", address)
	demand(t, code, 0, out, "secret set, payload version v2, buffering off, subscribed to")
	if w := k.Webhook("hook-2"); w["secret_key"] != testSecret || len(w["events"].([]any)) != 2 || k.Webhook("hook-3") != nil {
		t.Errorf("%v", w)
	}
	code, out = runWebhook(t, k, "check", "--json")
	demand(t, code, 1, out, `"problem":true`) // the deliveries of before
	for line := range strings.Lines(out) {
		var f finding
		if json.Unmarshal([]byte(line), &f) == nil && f.Problem && f.Check != "deliveries" {
			t.Errorf("still: %s", line)
		}
	}
	code, out = runWebhook(t, k, "create", "--url", "https://example.com/webhooks/kapso2")
	demand(t, code, 0, out, "created")
	if w := k.Webhook("hook-3"); w["payload_version"] != "v2" || w["buffer_enabled"] != false || w["secret_key"] != testSecret {
		t.Errorf("%v", w)
	}
}

func TestWebhook_Test(t *testing.T) {
	t.Parallel()
	app := startApp(t, testConfig(t))
	k := kapsotest.New(t)
	k.AddWebhook(testNumber, map[string]any{"url": app.URL() + "/webhooks/kapso", "secret_key": testSecret})
	code, out := runWebhook(t, k, "test", "--server", app.URL())
	demand(t, code, 0, out, "ok       probe", "ok       delivery")

	// Kapso's secret is another one: the probe passes, Kapso's delivery does not.
	k = kapsotest.New(t)
	k.AddWebhook(testNumber, map[string]any{"url": app.URL() + "/webhooks/kapso", "secret_key": "another"})
	code, out = runWebhook(t, k, "test", "--server", "http://127.0.0.1:1")
	demand(t, code, 1, out, "ok       probe", "failed with status 401", "KAPSO_WEBHOOK_SECRET")
}

func TestWebhook_ProbeSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for want, handler := range map[string]http.HandlerFunc{
		"answers 401":                       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"answers 302":                       func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"answers 502":                       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"answers 200 that is not flowkeep":  func(http.ResponseWriter, *http.Request) {},
		"gives no answer: EOF":              func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"something before flowkeep answers": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"flowkeep could not store it":       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"it ends in /webhooks/kapso":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"raise the proxy's limit on bodies": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) },
		"look at what the URL leads to":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"ignored":0}`)) },
	} {
		server := httptest.NewServer(handler)
		f := probe(t.Context(), server.URL, testSecret)
		server.Close()
		if !f.Problem || !strings.Contains(f.Text+f.ToDo, want) {
			t.Errorf("%s: %+v", want, f)
		}
	}
}

func TestWebhook_Usage(t *testing.T) {
	t.Parallel()
	k := kapsotest.New(t)
	for _, args := range [][]string{{}, {"destroy"}, {"create"}, {"check", "--url", "example.com"}, {"check", "more"}} {
		if code, out := runWebhook(t, k, args...); code != 2 {
			t.Errorf("%v: exit code %d\n%s", args, code, out)
		}
	}
	if code, out := runWebhook(t, k, "check", "--help"); code != 0 || !strings.Contains(out, "resume") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if k.Requests() != 0 {
		t.Errorf("%d calls for nothing", k.Requests())
	}
}
