package simulate

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer bounds what is read of an answer's body.
const maxAnswer = 64 << 10

// sender is one worker: it makes an attempt, waits for the answer, and goes on.
type sender struct {
	config  *Config
	target  string
	traffic *Traffic
	plan    *schedule
	tally   *tally
	mac     hash.Hash // keyed once: half the cost of signing a short body
}

func newSender(c *Config, target *url.URL, t *Traffic, p *schedule, y *tally) *sender {
	mac := hmac.New(sha256.New, []byte(c.Secret))
	return &sender{config: c, target: target.String(), traffic: t, plan: p, tally: y, mac: mac}
}

func newTransport(concurrency int) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		MaxIdleConns:        concurrency,
		MaxIdleConnsPerHost: concurrency,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		ForceAttemptHTTP2:   true,
	}
}

func (s *sender) run(ctx context.Context) {
	for ctx.Err() == nil {
		j, some := s.plan.take(time.Now())
		if !some || !waitUntil(ctx, j.due) {
			return
		}
		if j.attempt == 1 && s.plan.interval > 0 {
			s.tally.noteLate(time.Since(j.due))
		}
		sent := s.traffic.Delivery(j.index)
		s.sign(&sent)
		answer := s.attempt(ctx, &sent)
		answer.Attempt = j.attempt
		answer.Last = answer.OK() || j.attempt > len(s.config.Retry)
		s.tally.record(sent, answer, ctx.Err() != nil)
		if !answer.Last {
			wait := s.config.Retry[j.attempt-1]
			s.plan.retry(job{due: time.Now().Add(wait), index: j.index, attempt: j.attempt + 1})
		}
	}
}

// waitUntil returns false if the context ended first.
func waitUntil(ctx context.Context, due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *sender) sign(sent *Sent) {
	var sum [sha256.Size]byte
	s.mac.Reset()
	s.mac.Write(sent.Body)
	signature := hex.EncodeToString(s.mac.Sum(sum[:0]))
	if sent.looseSignature {
		signature = "sha256=" + strings.ToUpper(signature)
	}
	sent.Header["X-Webhook-Signature"] = []string{signature}
}

// attempt sends once. It does not follow redirects, as they are no 200.
func (s *sender) attempt(ctx context.Context, sent *Sent) Answer {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.target, bytes.NewReader(sent.Body))
	if err != nil {
		return Answer{Err: err}
	}
	req.Header = sent.Header
	// With X-Idempotency-Key and GetBody, the transport would send a second time
	// on its own when a connection breaks, and nobody would know.
	req.GetBody = nil

	start := time.Now()
	resp, err := s.config.Transport.RoundTrip(req)
	if err != nil {
		return Answer{Err: err, Latency: time.Since(start)}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	a := Answer{Status: resp.StatusCode, Body: body, Err: err, Latency: time.Since(start)}
	if a.OK() && json.Unmarshal(body, &a.Counts) != nil {
		a.Counts = Counts{}
	}
	return a
}
