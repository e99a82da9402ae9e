package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/webhook"
)

func TestAnswer_CountsWhatBecameOfEachItem(t *testing.T) {
	t.Parallel()
	batch := fmt.Sprintf(`{"type":"whatsapp.message.received","batch":true,"data":[%s,%s,%s,7]}`, response, text, text)
	for _, c := range []struct {
		name, body, event string
		kept              webhook.Kept // what the Sink says
		answer            string
		calls             int
	}{
		{"stored", response, "", webhook.Kept{Stored: 1}, `{"stored":1,"duplicate":0,"ignored":0,"quarantined":0,"spooled":0}`, 1},
		{"duplicate", response, "whatsapp.message.received", webhook.Kept{Duplicate: 1}, `{"stored":0,"duplicate":1,"ignored":0,"quarantined":0,"spooled":0}`, 1},
		{"spooled", response, "", webhook.Kept{Spooled: 1}, `{"stored":0,"duplicate":0,"ignored":0,"quarantined":0,"spooled":1}`, 1},
		{"not a Flow response", text, "", webhook.Kept{}, `{"stored":0,"duplicate":0,"ignored":1,"quarantined":0,"spooled":0}`, 0},
		{"a status", `{"message":{"id":"wamid.out"}}`, "whatsapp.message.sent", webhook.Kept{}, `{"stored":0,"duplicate":0,"ignored":1,"quarantined":0,"spooled":0}`, 1},
		{"another event", response, "whatsapp.conversation.created", webhook.Kept{}, `{"stored":0,"duplicate":0,"ignored":1,"quarantined":0,"spooled":0}`, 0},
		{"not JSON", `{"message":`, "", webhook.Kept{Quarantined: 1}, `{"stored":0,"duplicate":0,"ignored":0,"quarantined":1,"spooled":0}`, 1},
		{"unknown shape", `{"hello":"world"}`, "", webhook.Kept{Quarantined: 1}, `{"stored":0,"duplicate":0,"ignored":0,"quarantined":1,"spooled":0}`, 1},
		{"empty", ``, "", webhook.Kept{Quarantined: 1}, `{"stored":0,"duplicate":0,"ignored":0,"quarantined":1,"spooled":0}`, 1},
		{"batch of all kinds", batch, "", webhook.Kept{Stored: 1, Quarantined: 1}, `{"stored":1,"duplicate":0,"ignored":2,"quarantined":1,"spooled":0}`, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, testConfig(), &fakeSink{KeepFunc: func(context.Context, *flowparse.Delivery) (webhook.Kept, error) {
				return c.kept, nil
			}})
			a := s.deliver(t, c.body, "X-Webhook-Event", c.event)
			if a.status != http.StatusOK || strings.TrimSpace(a.body) != c.answer || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("answer %d %s %v, want %s", a.status, a.body, a.header, c.answer)
			}
			if got := len(s.sink.deliveries()); got != c.calls {
				t.Errorf("the Sink was asked %d times, want %d", got, c.calls)
			}
		})
	}
}

func TestAnswer_IsLoggedAndCounted(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{KeepFunc: func(context.Context, *flowparse.Delivery) (webhook.Kept, error) {
		return webhook.Kept{Stored: 5, Duplicate: 4, Quarantined: 3, Spooled: 2}, nil
	}})
	batch := fmt.Sprintf(`{"type":"whatsapp.message.received","batch":true,"data":[%s,%s]}`, response, text)
	if a := s.deliver(t, batch); a.status != http.StatusOK {
		t.Fatalf("answer %d %s", a.status, a.body)
	}
	line := s.nextLine(t)
	delete(line, "took_ms")
	want := map[string]any{
		"level": "info", "message": "request", "method": "POST", "route": kapsoPath, "status": 200.0, "bytes": float64(len(batch)),
		"source": "kapso", "stored": 5.0, "duplicate": 4.0, "ignored": 1.0, "quarantined": 3.0, "spooled": 2.0,
	}
	if diff := cmp.Diff(want, line); diff != "" {
		t.Errorf("log line (-want +got):\n%s", diff)
	}
	s.wantMetrics(t, "flowkeep_items_total",
		`{outcome="duplicate",source="kapso"} 4`, `{outcome="ignored",source="kapso"} 1`, `{outcome="quarantined",source="kapso"} 3`,
		`{outcome="spooled",source="kapso"} 2`, `{outcome="stored",source="kapso"} 5`)
	s.wantMetrics(t, "flowkeep_http_requests_total", `{route="/webhooks/kapso",status="200"} 1`)
}

func TestSink_GetsTheDelivery(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{})
	before := time.Now()
	s.deliver(t, response, "X-Idempotency-Key", "key-1", "X-Webhook-Event", "whatsapp.message.received")
	s.deliver(t, "no JSON, as it is")
	after := time.Now()
	seen := s.sink.deliveries()
	if len(seen) != 2 || len(seen[0].Responses) != 1 || len(seen[1].Rejects) != 1 {
		t.Fatalf("the Sink got %+v", seen)
	}
	d := seen[0]
	if d.IdempotencyKey != "key-1" || d.Event != "whatsapp.message.received" || d.Source != flowparse.SourceKapso ||
		d.ReceivedAt.Before(before) || d.ReceivedAt.After(after) {
		t.Errorf("delivery %+v", d)
	}
	if r := d.Responses[0]; r.MessageID != "wamid.A" || string(r.Raw) != response {
		t.Errorf("response %+v", r)
	}
	if r := seen[1].Rejects[0]; r.Reason != flowparse.ReasonNotJSON || string(r.Body) != "no JSON, as it is" {
		t.Errorf("reject %+v", r)
	}
}

func TestKnownFlowIDs_ReachTheParser(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	cfg.KnownFlowIDs = []string{"order-7"}
	s := start(t, cfg, &fakeSink{})
	s.deliver(t, response)
	if seen := s.sink.deliveries(); len(seen) != 1 || seen[0].Responses[0].FlowID != "order-7" {
		t.Errorf("the Sink got %+v", seen)
	}
}

func TestSink_Fails(t *testing.T) {
	t.Parallel()
	const inside = "relation wamid does not exist: s3cret"
	for _, c := range []struct {
		name   string
		keep   func() error
		status int
		retry  string
	}{
		{"unavailable", func() error { return webhook.ErrUnavailable }, 503, "10"},
		{"unavailable, wrapped", func() error { return fmt.Errorf("spool: %w: queue is full", webhook.ErrUnavailable) }, 503, "10"},
		{"a deadline of its own", func() error { return context.DeadlineExceeded }, 500, ""},
		{"unknown", func() error { return errors.New("something new") }, 500, ""},
		{"panics", func() error { panic(inside) }, 500, ""},
		{"panics with an error", func() error { panic(errors.New(inside)) }, 500, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, testConfig(), &fakeSink{KeepFunc: func(context.Context, *flowparse.Delivery) (webhook.Kept, error) {
				return webhook.Kept{Stored: 1}, c.keep()
			}})
			a := s.deliver(t, response)
			wantProblem(t, a, c.status)
			if got := a.header.Get("Retry-After"); got != c.retry {
				t.Errorf("Retry-After %q, want %q", got, c.retry)
			}
			for _, word := range []string{"wamid", "s3cret", "spool", "queue", "something new", "deadline", "goroutine", "stored\":"} {
				if strings.Contains(a.body, word) {
					t.Errorf("the answer tells about the inside: %s", a.body)
				}
			}
			if line := s.nextLine(t); line["level"] != "error" || line["status"] != float64(c.status) {
				t.Errorf("logged as %v", line)
			}
			s.wantMetrics(t, "flowkeep_items_total")
			if a := s.send(t, http.MethodGet, metaPath+"?hub.mode=subscribe&hub.verify_token="+verifyToken, nil); a.status != http.StatusOK {
				t.Errorf("the server is not well afterwards: %d", a.status)
			}
		})
	}
}

func TestSink_HangsAndOthersDoNot(t *testing.T) {
	t.Parallel()
	release, hanging := make(chan struct{}), make(chan struct{})
	s := start(t, testConfig(), &fakeSink{KeepFunc: func(_ context.Context, d *flowparse.Delivery) (webhook.Kept, error) {
		if d.IdempotencyKey == "slow" {
			close(hanging)
			<-release
		}
		return webhook.Kept{Stored: 1}, nil
	}})
	slow := make(chan answer)
	go func() { slow <- s.deliver(t, response, "X-Idempotency-Key", "slow") }()
	<-hanging
	for range 20 {
		if a := s.deliver(t, response); a.status != http.StatusOK {
			t.Errorf("answer %d %s", a.status, a.body)
		}
	}
	select {
	case a := <-slow:
		t.Errorf("answered %d before the Sink did", a.status)
	default:
	}
	close(release)
	if a := <-slow; a.status != http.StatusOK {
		t.Errorf("the slow one: %d %s", a.status, a.body)
	}
}

func TestUnknownAddressesAndMethods(t *testing.T) {
	t.Parallel()
	closed := testConfig()
	closed.MetaVerifyToken = ""
	s := start(t, closed, &fakeSink{})
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{http.MethodGet, metaPath, 404, ""},
		{http.MethodGet, metaPath + "?hub.mode=subscribe&hub.verify_token=&hub.challenge=7", 404, ""},
		{http.MethodPost, "/", 404, ""},
		{http.MethodPost, kapsoPath + "/", 404, ""},
		{http.MethodPost, "/webhooks", 404, ""},
		{http.MethodPost, "/webhooks%2Fkapso", 404, ""},
		{http.MethodGet, kapsoPath, 405, "POST"},
		{http.MethodPut, kapsoPath, 405, "POST"},
		{http.MethodDelete, metaPath, 405, "GET, POST"},
		{"post", kapsoPath, 405, "POST"},
	} {
		a := s.send(t, c.method, c.path, strings.NewReader(response))
		wantProblem(t, a, c.status)
		if got := a.header.Get("Allow"); got != c.allow {
			t.Errorf("%s %s: Allow %q, want %q", c.method, c.path, got, c.allow)
		}
	}
	if seen := s.sink.deliveries(); len(seen) != 0 {
		t.Errorf("the Sink got %+v", seen)
	}
}
