package simulate

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const secret = "s3cret"

// receiver is a correct receiver as far as Traffic is concerned: it makes the
// same traffic and answers what each delivery wants.
func receiver(t *testing.T, check func(*http.Request, []byte), answer func(body string) (int, Counts)) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		check(r, body)
		status, counts := answer(string(body))
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(counts); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func TestRun_SignsAndCounts(t *testing.T) {
	t.Parallel()
	mix := Mix{Default: 4, Custom: 3, Other: 2, Duplicate: 2, Odd: 3}
	want := map[string]Counts{} // by body
	traffic := newTraffic(t, 21, 1, mix)
	var total Counts
	for i := range int64(400) {
		s := traffic.Delivery(i)
		want[string(s.Body)] = s.Want()
		total.add(s.Want())
	}
	server := receiver(t, func(r *http.Request, body []byte) {
		signature := strings.ToLower(strings.TrimPrefix(r.Header.Get("X-Webhook-Signature"), "sha256="))
		if signature != Sign(secret, body) || r.Method != http.MethodPost || r.URL.Path != DefaultPath || r.ContentLength != int64(len(body)) {
			t.Errorf("%s %s, header %v", r.Method, r.URL, r.Header)
		}
	}, func(body string) (int, Counts) { return http.StatusOK, want[body] })

	sent := map[int64]Sent{}
	report, err := Run(t.Context(), Config{
		URL: server.URL, Secret: secret, Count: 400, Concurrency: 8, Mix: mix, Seed: 21,
		OnAnswer: func(s Sent, a Answer) {
			sent[s.Index] = s
			if !a.OK() || a.Attempt != 1 || !a.Last || a.Counts != want[string(s.Body)] || a.Latency <= 0 || len(a.Body) == 0 {
				t.Errorf("delivery %d: %+v", s.Index, a)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(sent) != 400 || report.Deliveries != 400 || report.Accepted != 400 || report.Attempts != 400 ||
		report.Statuses[200] != 400 || report.Unexpected != 0 || report.Uncounted != 0 || report.Unfinished != 0 {
		t.Errorf("%d sent, report %+v", len(sent), report)
	}
	if got, want := report.Items.total(), total.total(); got != want || report.Messages != want {
		t.Errorf("%d items in the answers, %d messages, want %d", got, report.Messages, want)
	}
	kinds := map[Kind]int64{}
	for _, s := range sent {
		kinds[s.Kind]++
	}
	if diff := cmp.Diff(kinds, report.Kinds); diff != "" {
		t.Error(diff)
	}
	l := report.Latency
	if l.P50 <= 0 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.Max || report.Rate <= 0 {
		t.Errorf("latency %+v, rate %v", l, report.Rate)
	}
}

func TestRun_Headers(t *testing.T) {
	t.Parallel()
	for batch, want := range map[int]map[string]string{
		1: {"X-Webhook-Batch": "", "X-Batch-Size": ""},
		7: {"X-Webhook-Batch": "true", "X-Batch-Size": "7"},
	} {
		var mu sync.Mutex
		keys := map[string]bool{}
		server := receiver(t, func(r *http.Request, body []byte) {
			want["Content-Type"] = "application/json"
			want["X-Webhook-Event"] = "whatsapp.message.received"
			want["X-Webhook-Payload-Version"] = "v2"
			want["X-Webhook-Signature"] = Sign(secret, body)
			for name, value := range want {
				if got := r.Header.Get(name); got != value {
					t.Errorf("%s: %q, want %q", name, got, value)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			keys[r.Header.Get("X-Idempotency-Key")] = true
		}, func(string) (int, Counts) { return http.StatusOK, Counts{Stored: int64(batch)} })

		report, err := Run(t.Context(), Config{
			URL: server.URL + "/", Secret: secret, Count: 20, Concurrency: 1, Batch: batch, Mix: Mix{Default: 1, Custom: 1},
		})
		if err != nil || report.Messages != int64(20*batch) || report.Items.Stored != int64(20*batch) || report.Unexpected != 0 {
			t.Errorf("batch %d: %+v, %v", batch, report, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(keys) != 20 || keys[""] {
			t.Errorf("%d idempotency keys", len(keys))
		}
	}
}

func TestRun_ReportsWhatIsWrong(t *testing.T) {
	t.Parallel()
	c := Config{Secret: secret, Count: 10, Concurrency: 2, Mix: Mix{Default: 1}}
	run := func(status int, counts Counts) Report {
		server := receiver(t, func(*http.Request, []byte) {}, func(string) (int, Counts) { return status, counts })
		c := c
		c.URL = server.URL + "/hook"
		report, err := Run(t.Context(), c)
		if err != nil {
			t.Error(err)
		}
		return report
	}
	if r := run(http.StatusAccepted, Counts{Stored: 1}); r.GivenUp != 10 || r.Accepted != 0 || r.Statuses[202] != 10 {
		t.Errorf("202: %+v", r)
	}
	if r := run(http.StatusOK, Counts{Ignored: 1}); r.Accepted != 10 || r.Unexpected != 10 {
		t.Errorf("wrong counts: %+v", r)
	}
	if r := run(http.StatusOK, Counts{}); r.Accepted != 10 || r.Uncounted != 10 || r.Unexpected != 0 {
		t.Errorf("no counts: %+v", r)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	c.URL = gone.URL
	if r, err := Run(t.Context(), c); err != nil || r.GivenUp != 10 || r.Errors["refused"] != 10 || r.Latency != (Latency{}) {
		t.Errorf("refused: %+v, %v", r, err)
	}
}

func TestRun_BrokenConnectionIsSentOnlyOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.Header.Get("X-Idempotency-Key")]++
		n := len(seen)
		mu.Unlock()
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		if n%2 == 0 { // on a kept-alive connection: where a transport would send again
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(server.Close)
	report, err := Run(t.Context(), Config{URL: server.URL, Secret: secret, Count: 20, Concurrency: 1, Mix: Mix{Default: 1}})
	if err != nil || report.Accepted != 10 || report.GivenUp != 10 || report.Errors["connection lost"] != 10 {
		t.Errorf("%+v, %v", report, err)
	}
	mu.Lock()
	defer mu.Unlock()
	for key, n := range seen {
		if n != 1 {
			t.Errorf("%s arrived %d times", key, n)
		}
	}
}

func TestRun_RefusesABadConfig(t *testing.T) {
	t.Parallel()
	_, err := Run(t.Context(), Config{URL: "localhost:80", Count: -1, Rate: -1, Concurrency: -1, Timeout: -1})
	for _, part := range []string{"localhost:80", "no secret", "count", "rate", "concurrency", "timeout"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
	if _, err := Run(t.Context(), Config{URL: "http://x", Secret: "s", Mix: Mix{Odd: -1}}); err == nil {
		t.Error("a negative weight is accepted")
	}
}

func TestReport_String(t *testing.T) {
	t.Parallel()
	report := Report{
		Deliveries: 10, Messages: 20, Attempts: 12, Accepted: 8, GivenUp: 1, Unfinished: 1,
		Statuses: map[int]int64{200: 8, 503: 2}, Errors: map[string]int64{"timeout": 2},
		Items: Counts{Stored: 15, Spooled: 1}, Unexpected: 3, Late: 1234567890,
	}
	for _, part := range []string{
		"10 with 20 messages", "8 (0.0/s)", "1 given up, 1 unfinished", "503 Service Unavailable", "2        timeout",
		"15 stored", "1 spooled", "3 with unexpected", "behind      1.23s",
	} {
		if !strings.Contains(report.String(), part) {
			t.Errorf("%q is not in\n%s", part, report)
		}
	}
}

func TestErrorName(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"other":           errors.New("no such host"),
		"timeout":         context.DeadlineExceeded,
		"refused":         &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
		"connection lost": errors.New("http: server closed idle connection"),
	} {
		if got := errorName(err, false); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
		if got := errorName(err, true); got != "cut off" {
			t.Errorf("%v at the end of the run: %q", err, got)
		}
	}
}
