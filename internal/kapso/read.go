package kapso

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The bounds of a read. It may be repeated at will, so it is patient: about
// half a minute while Kapso is away, and longer if Kapso names a time.
const (
	readAttempts    = 6
	longestReadWait = 2 * time.Minute
	maxPage         = 32 << 20 // bytes
)

// Window is a span of time of one number, both ends included.
type Window struct {
	PhoneNumberID string // Meta's id of the business number
	Since, Until  time.Time
}

// Found is one delivery that Kapso's history holds.
type Found struct {
	Body  []byte    // what the parser reads; empty if Kapso kept none
	Event string    // as in X-Webhook-Event; empty if Kapso does not say
	At    time.Time // when Kapso posted it; zero if that is not known
}

// Page is what one call returned, newest first.
type Page struct {
	Found []Found
	Next  string // the cursor of the page after this; empty if this is the last
}

// get reads an address of Kapso's into answer.
func (c *Client) get(ctx context.Context, address *url.URL, query url.Values, answer any) error {
	full := *address
	full.RawQuery = query.Encode()
	return c.read(ctx, http.MethodGet, &full, Request{}, answer)
}

// read makes a call that changes nothing. It waits for as long as a 429 or a 503
// asks for, within bounds, and tries again whatever may pass.
func (c *Client) read(ctx context.Context, method string, address *url.URL, r Request, answer any) error {
	if c.key() == "" {
		return ErrNoKey
	}
	r.most = maxPage
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := c.once(ctx, method, address.String(), r, answer)
		wait, again := pause, errors.Is(err, ErrUnreachable) || errors.Is(err, ErrInDoubt)
		if refusal, ok := errors.AsType[*Error](err); ok {
			wait, again = max(pause, refusal.RetryAfter), refusal.Temporary()
		}
		if !again || attempt == readAttempts || wait > longestReadWait || !rest(ctx, wait) {
			return err
		}
		pause *= 2
	}
}

// platform returns an address of the platform API, which lies beside the proxy
// at the same host: /platform/v1 for /meta/whatsapp (kapso-facts.md, sections 1
// and 4).
func (c *Client) platform(path ...string) *url.URL {
	base := *c.base
	base.Path = strings.TrimSuffix(strings.TrimRight(base.Path, "/"), "/meta/whatsapp")
	base.RawPath = ""
	for i := range path {
		path[i] = url.PathEscape(path[i])
	}
	return base.JoinPath("platform", "v1").JoinPath(path...)
}

// readable decodes as much of an object as fits. A field that is not of the
// documented type counts as absent: it must not cost the page.
func readable(token json.RawMessage, v any) bool {
	err := json.Unmarshal(token, v)
	_, odd := errors.AsType[*json.UnmarshalTypeError](err)
	return err == nil || odd
}

// cursors is how Meta's lists go on, at Kapso too (OpenAPI: Paging).
type cursors struct {
	Cursors struct {
		After string `json:"after"`
	} `json:"cursors"`
}

// firstTime returns the first text that is a time of ISO 8601, or the zero time.
func firstTime(texts ...string) time.Time {
	t, _ := time.Parse(time.RFC3339, cmp.Or(texts...))
	return t
}
