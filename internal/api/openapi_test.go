package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
)

// description reads the description that is served.
func description(t *testing.T, s *service) (*openapi3.T, routers.Router) {
	t.Helper()
	a := s.ask(http.MethodGet, "/api/v1/openapi.yaml", nil)
	doc, err := openapi3.NewLoader().LoadFromData([]byte(a.body))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

func TestDescription_HasEveryRouteAndNoOther(t *testing.T) {
	t.Parallel()
	s := newService(t)
	doc, _ := description(t, s)
	var served, described []string
	_ = chi.Walk(s.router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if method != http.MethodHead { // as GET, without the body
			served = append(served, method+" "+route)
		}
		return nil
	})
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if diff := cmp.Diff(described, served); diff != "" {
		t.Errorf("described (-), served (+):\n%s", diff)
	}
}

// Real answers, errors too, are as they are described.
func TestDescription_IsTrue(t *testing.T) {
	t.Parallel()
	s := newService(t)
	_, router := description(t, s)
	s.store(3, 2)
	s.exec(`INSERT INTO flow_responses (message_id, token_kind, response, response_status, source, raw, sent_at, received_at)
		VALUES ('scalar', 'none', '[1, "x", null]', 'sanitized', 'meta', '', now(), now())`)
	s.sync()
	for path, status := range map[string]int{
		"/api/v1/openapi.yaml": 200,
		"/api/v1/responses":    200,
		"/api/v1/responses?limit=1&order=asc&since=2026-01-01":           200,
		"/api/v1/responses?flow_id=x&flow_token=x&wa_id=1&user_id=1":     200,
		"/api/v1/responses?until=2026-01-02T00:00:00%2B01:00":            200,
		"/api/v1/responses?limit=0":                                      400,
		"/api/v1/responses?unknown=1":                                    400,
		"/api/v1/responses/" + url.PathEscape(wamid(1)):                  200,
		"/api/v1/responses/scalar":                                       200,
		"/api/v1/responses/none":                                         404,
		"/api/v1/flows":                                                  200,
		"/api/v1/flows?after=zzz":                                        200,
		"/api/v1/flows/" + flowID + "/responses.csv":                     200,
		"/api/v1/flows/" + flowID + "/responses.ndjson?since=2026-01-01": 200,
		"/api/v1/flows/none/responses.csv":                               404,
	} {
		check(t, s, router, path, token, status)
		if !strings.HasSuffix(path, ".yaml") {
			check(t, s, router, path, "wrong", http.StatusUnauthorized)
		}
	}
	s.exec(`ALTER TABLE flow_responses RENAME TO hidden`)
	check(t, s, router, "/api/v1/responses", token, http.StatusInternalServerError)
	s.serve("postgres://nobody@127.0.0.1:1/none")
	check(t, s, router, "/api/v1/responses", token, http.StatusServiceUnavailable)
}

// check sends one request, and holds it and its answer against the description.
func check(t *testing.T, s *service, router routers.Router, path, bearer string, status int) {
	t.Helper()
	a := s.ask(http.MethodGet, path, http.Header{"Authorization": {"Bearer " + bearer}})
	if a.StatusCode != status {
		t.Errorf("%s: %d, want %d", path, a.StatusCode, status)
	}
	req := a.Request.Clone(t.Context())
	req.URL.Scheme, req.URL.Host = "", ""
	route, parameters, err := router.FindRoute(req)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	options := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}
	input := &openapi3filter.RequestValidationInput{Request: req, PathParams: parameters, Route: route, Options: options}
	if err := openapi3filter.ValidateRequest(t.Context(), input); err != nil && status < 400 {
		t.Errorf("%s is asked otherwise than described: %v", path, err)
	}
	bodies := []string{a.body}
	if strings.HasPrefix(a.Header.Get("Content-Type"), "application/x-ndjson") {
		bodies = nil // each line is held against Response
		for line := range strings.Lines(a.body) {
			one := route.Spec.Paths.Value("/api/v1/responses/{message_id}").Get.Responses.Value("200").Value.Content["application/json"]
			var object any
			if err := json.Unmarshal([]byte(line), &object); err != nil {
				t.Errorf("%s: %v", path, err)
			} else if err := one.Schema.Value.VisitJSON(object); err != nil {
				t.Errorf("%s: a line is otherwise than described: %v", path, err)
			}
		}
	}
	for _, body := range bodies {
		err := openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: input, Status: a.StatusCode, Header: a.Header, Options: options, Body: io.NopCloser(bytes.NewReader([]byte(body))),
		})
		if err != nil {
			t.Errorf("%s is answered otherwise than described: %v\n%s", path, err, body)
		}
	}
}
