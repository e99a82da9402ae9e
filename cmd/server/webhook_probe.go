package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"flowkeep/internal/kapso"
	"flowkeep/internal/simulate"
)

// How long a test delivery may take to arrive: Kapso's second attempt comes
// after 10 s (kapso-facts.md, section 1).
const (
	arrivalTimeout = 20 * time.Second
	arrivalLook    = 500 * time.Millisecond
	probeTimeout   = 10 * time.Second
)

// test sends a probe of our own to the webhook's URL, which shows that address,
// TLS, proxy and secret are right, and then has Kapso send a test delivery.
func (d *doctor) test(ctx context.Context) error {
	w, err := d.find(ctx)
	if err != nil || w == nil {
		return err
	}
	if len(d.secrets) == 0 {
		return d.say(finding{Check: "probe", Problem: true, Text: "there is no secret to sign with", ToDo: "set KAPSO_WEBHOOK_SECRET as the server has it"})
	}
	if err := d.say(probe(ctx, w.URL, d.secrets[0])); err != nil {
		return err
	}
	return d.testDelivery(ctx, w)
}

// probe posts a signed event that carries no answer, so that nothing is stored.
func probe(ctx context.Context, address, secret string) finding {
	f := finding{Check: "probe", Problem: true}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	body := []byte(`{"event":"flowkeep.probe"}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		f.Text, f.ToDo = "the webhook's URL is no address", "flowkeep webhook create --url …"
		return f
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Webhook-Event", "flowkeep.probe")
	req.Header.Set("X-Webhook-Signature", simulate.Sign(secret, body))
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the address
	}
	if err != nil {
		f.Text, f.ToDo = "the URL gives no answer: "+err.Error(), statusAdvice(0)
		return f
	}
	defer resp.Body.Close()
	var counts simulate.Counts
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		f.Text, f.ToDo = "the URL answers 401", "the server there has another KAPSO_WEBHOOK_SECRET than this environment, or it is not flowkeep"
	case resp.StatusCode != http.StatusOK:
		f.Text, f.ToDo = fmt.Sprintf("the URL answers %d", resp.StatusCode), statusAdvice(resp.StatusCode)
	case err != nil || json.Unmarshal(answer, &counts) != nil || counts.Ignored != 1:
		f.Text, f.ToDo = "something answers 200 that is not flowkeep", "look at what the URL leads to"
	default:
		f.Problem, f.Text = false, "a signed probe reaches flowkeep at the webhook's URL and verifies"
	}
	return f
}

// testDelivery has Kapso send a test and looks for it in two places: among
// Kapso's own deliveries, and in this server's metrics. Either is enough.
func (d *doctor) testDelivery(ctx context.Context, w *kapso.Webhook) error {
	before, err := d.client.Attempts(ctx, w.ID)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := d.client.TestWebhook(ctx, w.ID); err != nil {
		return d.say(finding{Check: "delivery", Problem: true, Text: err.Error(), ToDo: "flowkeep webhook check"})
	}
	for time.Since(start) < arrivalTimeout {
		if d.signedSince(ctx, start) {
			return d.say(finding{Check: "delivery", Text: "Kapso's test delivery reached this server and verified"})
		}
		now, err := d.client.Attempts(ctx, w.ID)
		if err != nil {
			return err
		}
		if a, ended := newlyEnded(now, before); ended && a.Status == "delivered" {
			return d.say(finding{Check: "delivery", Text: "Kapso says that its test was delivered"})
		} else if ended {
			return d.say(finding{Check: "delivery", Problem: true, Text: fmt.Sprintf("Kapso's test failed with status %d", a.ResponseStatus), ToDo: statusAdvice(a.ResponseStatus)})
		}
		pause(ctx, arrivalLook)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return d.say(finding{Check: "delivery", Problem: true, Text: "no test delivery arrived within " + arrivalTimeout.String(), ToDo: "flowkeep webhook check; if the server is elsewhere, say --server"})
}

// newlyEnded returns a delivery that was not among those before and that is not
// under way any more.
func newlyEnded(now, before []kapso.Attempted) (kapso.Attempted, bool) {
	for _, a := range now {
		if a.Status != "pending" && !slices.ContainsFunc(before, func(b kapso.Attempted) bool { return b.ID == a.ID }) {
			return a, true
		}
	}
	return kapso.Attempted{}, false
}

// sinceSigned finds the metric in the text of /metrics.
const sinceSigned = `(?m)^flowkeep_seconds_since_signed_delivery (\S+)$`

// signedSince says whether the server had a delivery with a valid signature
// since start. It is false too if the server cannot be asked.
func (d *doctor) signedSince(ctx context.Context, start time.Time) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(d.server, "/")+"/metrics", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return false
	}
	age := regexp.MustCompile(sinceSigned).FindSubmatch(text)
	if age == nil {
		return false
	}
	seconds, err := strconv.ParseFloat(string(age[1]), 64)
	return err == nil && seconds < time.Since(start).Seconds()
}
