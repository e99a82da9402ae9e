package api_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flowkeep/internal/store/storetest"
)

type page struct {
	Responses []struct {
		MessageID string          `json:"message_id"`
		Response  json.RawMessage `json:"response"`
	} `json:"responses"`
	Next *string `json:"next"`
}

func TestResponses_FollowingNextGivesAll(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.store(25, 10)
	var got, want []string
	query := url.Values{"flow_id": {flowID}, "limit": {"7"}, "since": {"2026-01-01T03:00:00Z"}, "until": {"2026-01-02"}}
	for next := ""; ; {
		a := s.get("/api/v1/responses?" + query.Encode() + next)
		var p page
		if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%d %v %s", a.StatusCode, err, a.body)
		}
		for _, r := range p.Responses {
			got = append(got, r.MessageID)
			if !strings.Contains(string(r.Response), `"html": "<&>", "text": "xxxxxxxxxx"}`) {
				t.Errorf("the answers are not untouched: %s", r.Response)
			}
		}
		if p.Next == nil {
			break
		}
		next = "&after=" + *p.Next
	}
	for n := 23; n >= 3; n-- {
		want = append(want, wamid(n))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if a := s.get("/api/v1/responses?flow_id=none"); a.body != `{"responses":[],"next":null}`+"\n" {
		t.Error(a.body)
	}
}

func TestResponse_IdsMayHoldAnything(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, id := range []string{wamid(1), "a b", "%2F", "ünï", "..", "?x=1#y", "sha256:00", strings.Repeat("w", 512)} {
		s.exec(`INSERT INTO flow_responses (message_id, token_kind, response, response_status, source, raw, received_at) VALUES ($1, 'none', '{}', 'ok', 'kapso', '', now())`, id)
		a := s.get("/api/v1/responses/" + url.PathEscape(id))
		var got struct {
			MessageID string `json:"message_id"`
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.MessageID != id {
			t.Errorf("%q: %d %s", id, a.StatusCode, a.body)
		}
	}
	for path, status := range map[string]int{"none": 404, "": 404, "a/b": 404, "%00": 400, "%ff": 400, "a%20b?x=1": 400} {
		if a := s.get("/api/v1/responses/" + path); a.StatusCode != status || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%q: %d %s", path, a.StatusCode, a.body)
		}
	}
}

func TestResponses_WrongParametersAreNamed(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.store(1, 1)
	for query, name := range map[string]string{
		"limit=0": "limit", "limit=-1": "limit", "limit=1e9": "limit", "limit=1000000000": "limit", "limit=99999999999999999999": "limit",
		"limit=1001": "limit", "limit=": "limit", "limit=1&limit=2": "limit", "order=up": "order", "order=asc;--": "list",
		"since=yesterday": "since", "since=24h": "since", "until=0000-01-01": "until", "until=2026-13-01": "until",
		"after=x": "after", "after=%27%20OR%201=1": "after", "after=" + strings.Repeat("A", 2000): "after",
		"flow_id=%00": "flow_id", "wa_id=%ff": "wa_id", "flowid=1": "flowid", "token=x": "token", "%zz": "list", "offset=1": "offset",
	} {
		a := s.get("/api/v1/responses?" + query)
		if a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, name) || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", query, a.StatusCode, a.body)
		}
	}
	for _, query := range []string{"flow_id=%27%20OR%20true%20--", "flow_token=%27%3B%20DROP%20TABLE%20flow_responses%3B%20--", "wa_id=1555%25", "user_id=%24%7Bx%7D"} {
		if a := s.get("/api/v1/responses?" + query); a.body != `{"responses":[],"next":null}`+"\n" {
			t.Errorf("%s: %d %s", query, a.StatusCode, a.body)
		}
	}
	if a := s.get("/api/v1/flows/x/responses.csv?since=now"); a.StatusCode != http.StatusBadRequest || a.Header.Get("Content-Disposition") != "" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
}

// What people ask for is personal: it stands in no log line and no metric.
func TestAPI_SaysNothingOfWhatWasAsked(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.store(1, 1)
	const person = "15551234567"
	for _, path := range []string{
		"/api/v1/responses?wa_id=" + person, "/api/v1/responses?after=" + person, "/api/v1/responses?" + person + "=1", "/api/v1/responses/" + person,
		"/api/v1/responses/" + url.PathEscape(wamid(1)), "/api/v1/flows/" + person + "/responses.csv", "/api/v1/flows?after=" + person, "/api/v1/" + person,
	} {
		s.get(path)
		s.ask(http.MethodGet, path, http.Header{"Authorization": {"Bearer " + person + person}})
	}
	for _, secret := range []string{person, "wamid", token} {
		if strings.Contains(s.logged(), secret) || strings.Contains(s.metrics(), secret) {
			t.Errorf("%q is told:\n%s\n%s", secret, s.logged(), s.metrics())
		}
	}
	if !strings.Contains(s.logged(), `"level":"info","token":"api-2"`) || !strings.Contains(s.metrics(), `{route="/api/v1/responses/{message_id}",status="200"} 1`) {
		t.Errorf("%s\n%s", s.logged(), s.metrics())
	}
}

func TestAPI_Head(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.store(2000, 100)
	s.sync()
	for path, status := range map[string]int{
		"/api/v1/openapi.yaml": 200, "/api/v1/responses": 200, "/api/v1/responses?limit=0": 400, "/api/v1/responses/" + url.PathEscape(wamid(1)): 200,
		"/api/v1/responses/none": 404, "/api/v1/flows": 200, "/api/v1/flows/" + flowID + "/responses.csv": 200, "/api/v1/flows/none/responses.ndjson": 404,
	} {
		a := s.ask(http.MethodHead, path, http.Header{"Authorization": {"bearer " + token}})
		b := s.get(path)
		if a.StatusCode != status || b.StatusCode != status || a.body != "" || a.Header.Get("Content-Type") != b.Header.Get("Content-Type") {
			t.Errorf("%s: HEAD %d %v, GET %d %v", path, a.StatusCode, a.Header, b.StatusCode, b.Header)
		}
	}
	if a := s.ask(http.MethodPost, "/api/v1/responses", nil); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
}

func TestAPI_DatabaseAway(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.serve("postgres://nobody:secret@127.0.0.1:1/none")
	for _, path := range []string{"/api/v1/responses", "/api/v1/responses/x", "/api/v1/flows", "/api/v1/flows/x/responses.csv", "/api/v1/flows/x/responses.ndjson"} {
		if a := s.get(path); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" ||
			a.Header.Get("Content-Type") != "application/problem+json" || strings.Contains(s.logged(), ":secret") {
			t.Errorf("%s: %d %v %s", path, a.StatusCode, a.Header, a.body)
		}
	}
}

// What is missing, or may not be read, is not there at the next try either.
func TestAPI_TheDatabaseRefuses(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.exec(`ALTER TABLE flow_responses RENAME TO hidden; ALTER TABLE flow_catalog RENAME TO hidden_too`)
	for _, path := range []string{"/api/v1/responses", "/api/v1/responses/x", "/api/v1/flows", "/api/v1/flows/x/responses.csv", "/api/v1/flows/x/responses.ndjson"} {
		if a := s.get(path); a.StatusCode != http.StatusInternalServerError || a.Header.Get("Retry-After") != "" || strings.Contains(a.body, "hidden") ||
			a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %v %s", path, a.StatusCode, a.Header, a.body)
		}
	}
	if text := s.logged(); strings.Count(text, "SQLSTATE 42P01") != 5 || strings.Count(text, `"level":"error"`) != 5 {
		t.Errorf("logged: %s", text)
	}
	storetest.Eventually(t, "no session is left in a transaction", func() bool { return s.readers() == 0 })
	s.exec(`ALTER TABLE hidden RENAME TO flow_responses`)
	if a := s.get("/api/v1/responses"); a.StatusCode != http.StatusOK {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestFlows_AndTheirStreams(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.store(3, 2)
	s.sync()
	if a := s.get("/api/v1/flows"); !strings.Contains(a.body, `"id" : "`+flowID+`"`) || !strings.HasSuffix(a.body, `],"next":null}`+"\n") {
		t.Error(a.body)
	}
	a := s.get("/api/v1/flows/" + flowID + "/responses.csv?since=2026-01-01T02:00:00Z&until=2026-01-01T03:00:00Z")
	if !strings.HasPrefix(a.body, "\ufeffmessage_id,") || strings.Count(a.body, "\r\n") != 2 || !strings.Contains(a.body, wamid(2)) {
		t.Error(a.body)
	}
	if got := a.Header.Get("Content-Disposition"); got != `attachment; filename="responses-`+flowID+`.csv"` {
		t.Error(got)
	}
	a = s.get("/api/v1/flows/flow_" + flowID + "/responses.ndjson")
	if strings.Count(a.body, "\n") != 3 || !json.Valid([]byte(strings.Split(a.body, "\n")[0])) {
		t.Error(a.body)
	}
	s.exec(`UPDATE flow_responses SET flow_id = 'a"b/../c' || chr(10) WHERE message_id = $1`, wamid(1))
	a = s.get("/api/v1/flows/" + url.PathEscape("a\"b/../c\n") + "/responses.ndjson")
	if got := a.Header.Get("Content-Disposition"); a.StatusCode != http.StatusOK || got != `attachment; filename="responses-abc.ndjson"` || strings.Count(a.body, "\n") != 1 {
		t.Errorf("%d %s %s", a.StatusCode, got, a.body)
	}
}
