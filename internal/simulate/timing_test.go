package simulate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// These tests run on synctest's clock: the transport answers in memory.

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

func answerWith(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}
}

func TestRun_KeepsTheRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		report, err := Run(t.Context(), Config{
			URL: "http://test", Secret: secret, Count: 1001, Rate: 50, Concurrency: 20, Mix: Mix{Default: 1},
			Transport: transport(func(*http.Request) (*http.Response, error) {
				<-time.After(100 * time.Millisecond)
				return answerWith(200, `{"stored":1}`), nil
			}),
		})
		if err != nil || report.Elapsed != 20*time.Second+100*time.Millisecond || report.Late != 0 || report.Items.Stored != 1001 {
			t.Errorf("%+v, %v", report, err)
		}
		if l := report.Latency; l.P50 != 100*time.Millisecond || l.Max != 100*time.Millisecond {
			t.Errorf("latency %+v", l)
		}
	})
}

func TestRun_SaysThatItFellBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		report, err := Run(t.Context(), Config{
			URL: "http://test", Secret: secret, Count: 11, Rate: 10, Concurrency: 1, Mix: Mix{Default: 1},
			Transport: transport(func(*http.Request) (*http.Response, error) {
				<-time.After(time.Second)
				return answerWith(200, `{}`), nil
			}),
		})
		if err != nil || report.Late != 9*time.Second {
			t.Errorf("%+v, %v", report, err)
		}
	})
}

func TestRun_RetriesAsKapsoDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		tries := map[string][]time.Duration{} // by body
		var attempts []Answer
		// One worker and two deliveries: a waiting retry must not hold up others.
		report, err := Run(t.Context(), Config{
			URL: "http://test", Secret: secret, Count: 2, Concurrency: 1, Mix: Mix{Default: 1}, Seed: 1, Retry: KapsoRetry(),
			OnAnswer: func(s Sent, a Answer) {
				if s.Index == 0 {
					attempts = append(attempts, a)
				}
			},
			Transport: transport(func(r *http.Request) (*http.Response, error) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				tries[string(body)] = append(tries[string(body)], time.Since(start))
				if len(tries) == 2 && len(tries[string(body)]) == 2 && bytes.Equal(body, newTraffic(t, 1, 1, Mix{Default: 1}).Delivery(1).Body) {
					return answerWith(200, `{"stored":1}`), nil
				}
				return answerWith(503, `{}`), nil
			}),
		})
		traffic := newTraffic(t, 1, 1, Mix{Default: 1})
		want := map[string][]time.Duration{
			string(traffic.Delivery(0).Body): {0, 10 * time.Second, 50 * time.Second, 140 * time.Second},
			string(traffic.Delivery(1).Body): {0, 10 * time.Second},
		}
		if diff := cmp.Diff(want, tries); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
		if report.Attempts != 6 || report.Deliveries != 2 || report.GivenUp != 1 || report.Accepted != 1 || report.Statuses[503] != 5 {
			t.Errorf("%+v", report)
		}
		for i, a := range attempts {
			if a.Attempt != i+1 || a.Last != (i == 3) || a.Status != 503 {
				t.Errorf("attempt %d: %+v", i+1, a)
			}
		}
	})
}

func TestRun_TimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		report, err := Run(t.Context(), Config{
			URL: "http://test", Secret: secret, Count: 3, Concurrency: 3, Mix: Mix{Default: 1}, Transport: transport(hang),
		})
		if err != nil || report.Errors["timeout"] != 3 || report.GivenUp != 3 || report.Elapsed != DefaultTimeout {
			t.Errorf("%+v, %v", report, err)
		}
	})
}

func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestRun_EndOfContextStopsAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"in flight":       {Transport: transport(hang)},
		"waiting, rate":   {Rate: 0.01, Transport: transport(refuse)},
		"waiting, retry":  {Count: 4, Retry: KapsoRetry(), Transport: transport(refuse)},
		"endless, no end": {Rate: 1000, Transport: transport(refuse)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				c := c
				c.URL, c.Secret, c.Concurrency = "http://test", secret, 4
				report, err := Run(ctx, c)
				if report.Elapsed != 3*time.Second {
					t.Errorf("stopped after %v", report.Elapsed)
				}
				if (c.Count > 0) != errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v with count %d", err, c.Count)
				}
				if report.Deliveries == 0 || report.Deliveries != report.GivenUp+report.Unfinished {
					t.Errorf("%+v", report)
				}
				if name == "in flight" && (report.Errors["cut off"] != 4 || report.Unfinished != 4) {
					t.Errorf("%+v", report)
				}
			})
		})
	}
}

func refuse(*http.Request) (*http.Response, error) { return answerWith(503, ""), nil }

func TestRun_ShowsProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var screen bytes.Buffer
		_, err := Run(t.Context(), Config{
			URL: "http://test", Secret: secret, Count: 12, Rate: 10, Concurrency: 4, Progress: &screen, Transport: transport(refuse),
		})
		lines := strings.Split(screen.String(), "\r")
		if err != nil || len(lines) != 4 || !strings.HasPrefix(lines[3], "12 sent  0 accepted (0/s)  12 failed attempts  12 given up") ||
			!strings.HasSuffix(lines[3], "\n") {
			t.Errorf("%v: %q", err, lines)
		}
	})
}

func TestSchedule_ManyRetriesHoldUpNewDeliveries(t *testing.T) {
	t.Parallel()
	now := time.Now()
	plan := newSchedule(now, 0, 0)
	plan.limit = 10
	for i := range plan.limit {
		plan.retry(job{due: now.Add(time.Hour), index: int64(i), attempt: 2})
	}
	if j, ok := plan.take(now); !ok || j.attempt != 2 {
		t.Errorf("%+v, %v: want a retry although it is not due", j, ok)
	}
	if j, ok := plan.take(now); !ok || j.attempt != 1 {
		t.Errorf("%+v, %v: want a new delivery", j, ok)
	}
}
