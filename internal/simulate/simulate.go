// Package simulate sends signed, realistic webhook traffic to an address and
// reports how it was answered. It serves the command `flowkeep simulate`, load
// tests, and tests that must know exactly what was sent.
//
// Traffic is a pure function of its settings and an index: delivery number n
// can be made again at any time. Therefore a duplicate, or a retry after
// minutes, needs no stored body, and an endless run needs bounded memory.
//
// A delivery succeeds only with status 200, as at Kapso.
package simulate

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Defaults for what a Config leaves at zero.
const (
	DefaultPath        = "/webhooks/kapso"
	DefaultConcurrency = 16
	DefaultTimeout     = 10 * time.Second // Kapso's own
)

// Config says what to send, where and how fast.
type Config struct {
	URL         string          // the webhook's address, http or https; an empty path means DefaultPath
	Secret      string          // signs X-Webhook-Signature
	Count       int             // deliveries; 0 = until the context ends
	Rate        float64         // deliveries started a second; 0 = as fast as answers come
	Concurrency int             // requests in flight at most; 0 = DefaultConcurrency
	Batch       int             // messages a delivery: up to 1 = a v2 single, more = a v2 batch
	Mix         Mix             // the zero Mix means DefaultMix
	Seed        int64           // same seed, Batch and Mix: same traffic; 0 = new message ids each run
	Timeout     time.Duration   // for one attempt; 0 = DefaultTimeout
	Retry       []time.Duration // waits before the second, third … attempt; nil = one attempt only
	Progress    io.Writer       // a line rewritten twice a second, for a terminal; nil = none

	// OnAnswer is told of every attempt; nil = nobody. Calls never overlap, and
	// Run returns after the last one. The values may be kept, not changed.
	OnAnswer func(Sent, Answer)

	// Transport carries the requests; nil = HTTP with Concurrency kept-alive
	// connections, closed when Run returns.
	Transport http.RoundTripper
}

// Answer is how one attempt ended.
type Answer struct {
	Attempt int           // 1 for the first
	Last    bool          // no other attempt of this delivery follows
	Status  int           // HTTP status, 0 if no answer came
	Counts  Counts        // from a 200's body
	Body    []byte        // the answer's body, at most 64 KiB of it
	Latency time.Duration // from the request's start to the body's end
	Err     error         // no complete answer: the delivery may or may not have arrived
}

// OK says whether the delivery was accepted: a complete answer with status 200.
func (a Answer) OK() bool { return a.Err == nil && a.Status == http.StatusOK }

// KapsoRetry returns Kapso's own waits between attempts, for Config.Retry.
func KapsoRetry() []time.Duration {
	return []time.Duration{10 * time.Second, 40 * time.Second, 90 * time.Second}
}

// Sign returns the value of X-Webhook-Signature: the body's HMAC-SHA256 in
// lower-case hex.
func Sign(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// Run sends the traffic and returns once all deliveries are settled or the
// context has ended; requests in flight are then cut off. The Report holds
// whatever happened, also beside an error. The end of the context is an error
// only when it came before Count deliveries were settled.
func Run(ctx context.Context, c Config) (Report, error) {
	target, err := c.prepare()
	if err != nil {
		return Report{}, fmt.Errorf("simulate: %w", err)
	}
	traffic, err := NewTraffic(c.Seed, c.Batch, c.Mix)
	if err != nil {
		return Report{}, fmt.Errorf("simulate: %w", err)
	}
	if c.Seed == 0 && c.Rate > 0 {
		traffic.step = time.Duration(float64(time.Second) / c.Rate)
	}
	if c.Transport == nil {
		transport := newTransport(c.Concurrency)
		defer transport.CloseIdleConnections()
		c.Transport = transport
	}

	start := time.Now()
	plan := newSchedule(start, c.Rate, c.Count)
	tally := newTally(start, c.OnAnswer)
	stopProgress := tally.showProgress(c.Progress)
	var workers sync.WaitGroup
	for range c.Concurrency {
		s := newSender(&c, target, traffic, plan, tally)
		workers.Go(func() { s.run(ctx) })
	}
	workers.Wait()
	stopProgress()

	report := tally.snapshot()
	if c.Count > 0 && report.Accepted+report.GivenUp < int64(c.Count) {
		return report, fmt.Errorf("simulate: %w", context.Cause(ctx))
	}
	return report, nil
}

// prepare fills in the defaults and returns the parsed address, or all faults
// of the configuration at once.
func (c *Config) prepare() (*url.URL, error) {
	if c.Concurrency == 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Batch == 0 {
		c.Batch = 1
	}
	if c.Mix == (Mix{}) {
		c.Mix = DefaultMix()
	}
	var faults []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	target, err := url.Parse(c.URL)
	refuse(err != nil, "address: %w", err)
	if err == nil {
		refuse(target.Scheme != "http" && target.Scheme != "https" || target.Host == "",
			"address %q is not a full http or https one", c.URL)
		if target.Path == "" || target.Path == "/" {
			target.Path = DefaultPath
		}
	}
	refuse(c.Secret == "", "no secret")
	refuse(c.Count < 0, "count %d is negative", c.Count)
	refuse(!(c.Rate >= 0 && c.Rate <= 1e9), "rate %v is not between 0 and 1e9", c.Rate)
	refuse(c.Concurrency < 0, "concurrency %d is negative", c.Concurrency)
	refuse(c.Timeout < 0, "timeout %v is negative", c.Timeout)
	return target, errors.Join(faults...)
}
