package kapso

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

// The bounds of a call: three attempts, and at most half a minute before each
// next one. An answer has a few hundred bytes.
const (
	attemptTime = 30 * time.Second
	attempts    = 3
	firstPause  = time.Second
	longestWait = 30 * time.Second
	maxAnswer   = int64(1 << 20)
)

// ErrInDoubt says that a call went out and nobody knows whether it was
// accepted: the connection was cut, the answer was unreadable, or the server
// failed while it worked. To repeat it may send the message twice.
var ErrInDoubt = errors.New("in doubt")

// ErrUnreachable says that no attempt left this machine: nothing was sent.
var ErrUnreachable = errors.New("cannot reach Kapso")

// post carries out a call whose double would reach a person. It is repeated
// only while it is certain that no attempt was accepted: nothing had left, or
// the server said that it took none of it (Error.refusedForNow).
func (c *Client) post(ctx context.Context, r Request, answer any) error {
	if c.key() == "" {
		return ErrNoKey
	}
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := c.once(ctx, http.MethodPost, c.URL(r), r, answer)
		wait, again := pause, errors.Is(err, ErrUnreachable)
		if refusal, ok := errors.AsType[*Error](err); ok {
			wait, again = max(pause, refusal.RetryAfter), refusal.refusedForNow()
		}
		if !again || attempt == attempts || wait > longestWait || !rest(ctx, wait) {
			return err
		}
		pause *= 2
	}
}

// rest returns false if the context ended first.
func rest(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// once makes one attempt and reads a 2xx answer's JSON into answer. The URL may
// be any of Kapso's.
func (c *Client) once(ctx context.Context, method, address string, r Request, answer any) error {
	var written atomic.Bool // a complete header may be on its way
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { written.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(r.Body))
	if err != nil {
		return errors.New("the address is malformed") // err repeats it
	}
	req.Header.Set("X-API-Key", c.key())
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return noAnswer(err, written.Load())
	}
	defer resp.Body.Close()
	most := cmp.Or(r.most, maxAnswer)
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case resp.StatusCode/100 != 2: // a body that is cut off still comes with a status
		return newError(resp, body, append(r.hide, c.key()))
	case err != nil:
		return noAnswer(err, written.Load())
	case int64(len(body)) > most:
		return fmt.Errorf("%w: the answer is longer than %d bytes", ErrInDoubt, most)
	case json.Unmarshal(body, answer) != nil:
		return fmt.Errorf("%w: status %d, and the answer is not the JSON that was expected", ErrInDoubt, resp.StatusCode)
	}
	return nil
}

// noAnswer tells a call that never left from one that may have arrived.
func noAnswer(err error, written bool) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the address
	}
	if written {
		return fmt.Errorf("%w: no complete answer came: %w", ErrInDoubt, err)
	}
	return fmt.Errorf("%w: nothing was sent: %w", ErrUnreachable, err)
}
