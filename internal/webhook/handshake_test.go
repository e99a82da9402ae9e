package webhook_test

import (
	"net/http"
	"net/url"
	"testing"
)

func TestHandshake(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{})
	for _, c := range []struct {
		name  string
		query url.Values
		want  string // empty: refused
	}{
		{"as Meta sends it", url.Values{"hub.mode": {"subscribe"}, "hub.verify_token": {verifyToken}, "hub.challenge": {"1158201444"}}, "1158201444"},
		{"HTML", url.Values{"hub.mode": {"subscribe"}, "hub.verify_token": {verifyToken}, "hub.challenge": {"<script>alert(1)</script>"}}, "<script>alert(1)</script>"},
		{"wrong token", url.Values{"hub.mode": {"subscribe"}, "hub.verify_token": {verifyToken + "x"}, "hub.challenge": {"7"}}, ""},
		{"part of the token", url.Values{"hub.mode": {"subscribe"}, "hub.verify_token": {verifyToken[1:]}, "hub.challenge": {"7"}}, ""},
		{"right token second", url.Values{"hub.mode": {"subscribe"}, "hub.verify_token": {"x", verifyToken}, "hub.challenge": {"7"}}, ""},
		{"no token", url.Values{"hub.mode": {"subscribe"}, "hub.challenge": {"7"}}, ""},
		{"no mode", url.Values{"hub.verify_token": {verifyToken}, "hub.challenge": {"7"}}, ""},
		{"another mode", url.Values{"hub.mode": {"unsubscribe"}, "hub.verify_token": {verifyToken}, "hub.challenge": {"7"}}, ""},
		{"nothing", url.Values{}, ""},
	} {
		a := s.send(t, http.MethodGet, metaPath+"?"+c.query.Encode(), nil)
		if c.want == "" {
			wantProblem(t, a, http.StatusForbidden)
			continue
		}
		if a.status != http.StatusOK || a.body != c.want {
			t.Errorf("%s: %d %q", c.name, a.status, a.body)
		}
		if a.header.Get("Content-Type") != "text/plain; charset=utf-8" || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: a browser may take it for a page: %v", c.name, a.header)
		}
	}
	if line := s.nextLine(t); line["route"] != metaPath || line["status"] != 200.0 {
		t.Errorf("log line %v", line)
	}
}
