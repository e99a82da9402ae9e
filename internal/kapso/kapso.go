// Package kapso is a client for Kapso. Through its WhatsApp proxy it sends a
// flow as an interactive message or as a template, and creates templates with a
// FLOW button. From its history and its platform API it reads what was received
// and how webhooks are set, and it sets them right. "OpenAPI" names Kapso's own
// description of that API.
//
// A message is an input of the official TypeScript SDK, key for key
// (@kapso/whatsapp-cloud-api 0.3.0). Its Request checks the rules and returns
// what goes over the wire, equal to what the SDK sends for the same input;
// Client.Send sends that.
//
// A send that may have reached a person is never repeated. It fails with
// ErrInDoubt. Errors hold neither the API key nor the recipient.
package kapso

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// DefaultBaseURL is the proxy's address, before the version (kapso-facts.md,
// section 4).
const DefaultBaseURL = "https://api.kapso.ai/meta/whatsapp"

// version is that of Meta's Graph API (kapso-facts.md, section 4).
const version = "v24.0"

// ErrNoKey says that the client has no API key. Nothing was sent.
var ErrNoKey = errors.New("no API key: set KAPSO_API_KEY, or KAPSO_API_KEY_FILE to a file that holds it")

// Client calls Kapso. It is safe for concurrent use.
type Client struct {
	http *http.Client
	base *url.URL
	key  func() string // a function, so that printing a Client prints no key
}

// New returns a client. The address must be https, or http on this machine;
// empty means DefaultBaseURL. Without a key it can only say what would be sent:
// every call fails with ErrNoKey.
func New(baseURL, key string) (*Client, error) {
	if baseURL == "" {
		baseURL = DefaultBaseURL
	}
	base, err := checkBaseURL(baseURL)
	if err != nil {
		return nil, err
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > unicode.MaxASCII || r == 0x7f }) {
		return nil, errors.New("the API key holds a character that no key has: a blank, a control or a non-ASCII one")
	}
	return &Client{http: newHTTPClient(), base: base, key: func() string { return key }}, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// newHTTPClient bounds the time of one attempt, and follows no redirect: the
// key must not travel on, nor a send arrive twice.
func newHTTPClient() *http.Client {
	return &http.Client{
		Timeout:       attemptTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout:    5 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    4,
			IdleConnTimeout:        time.Minute,
			ForceAttemptHTTP2:      true,
		},
	}
}

// checkBaseURL never repeats the address: it could hold a password.
func checkBaseURL(text string) (*url.URL, error) {
	base, err := url.Parse(text)
	switch {
	case err != nil, base.Host == "", base.Opaque != "":
		return nil, errors.New("the base URL is not an address such as " + DefaultBaseURL)
	case base.User != nil, base.RawQuery != "", base.Fragment != "":
		return nil, errors.New("the base URL must hold no user, query or fragment")
	case base.Scheme == "http" && !onThisMachine(base.Hostname()), base.Scheme != "http" && base.Scheme != "https":
		return nil, errors.New("the base URL must be https, since the API key travels with each call (http is for this machine only)")
	}
	return base, nil
}

func onThisMachine(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Request is one call that passed every check, as it goes over the wire.
type Request struct {
	Path []string // what follows the version, such as 647015955153740 and messages
	Body []byte   // JSON

	hide []string // what an error must not repeat: the recipient, a secret
	most int64    // bytes of an answer; 0 means maxAnswer
}

// URL is the request's full address.
func (c *Client) URL(r Request) string {
	path := []string{version}
	for _, part := range r.Path {
		path = append(path, url.PathEscape(part))
	}
	return c.base.JoinPath(path...).String()
}

// Send sends a message and returns its wamid, the id that statuses and the
// answer refer to.
//
// It fails with *Error if Kapso or Meta refused it, with ErrUnreachable if it
// never left, and with ErrInDoubt if it may have been accepted: a second send
// could reach the person twice.
func (c *Client) Send(ctx context.Context, r Request) (wamid string, err error) {
	var answer struct {
		Messages []struct {
			ID string `json:"id"`
		} `json:"messages"`
	}
	if err := c.post(ctx, r, &answer); err != nil {
		return "", fmt.Errorf("send message: %w", err)
	}
	if len(answer.Messages) == 0 || answer.Messages[0].ID == "" || len(answer.Messages[0].ID) > maxWamid {
		return "", fmt.Errorf("send message: %w: it was accepted, and the answer holds no message id", ErrInDoubt)
	}
	return answer.Messages[0].ID, nil
}

// maxWamid bounds an id in bytes; real ones have about 70.
const maxWamid = 512

// CreatedTemplate is Meta's answer to a new template.
type CreatedTemplate struct {
	ID       string `json:"id"`
	Status   string `json:"status"`   // PENDING until Meta has looked at it; only APPROVED can be sent
	Category string `json:"category"` // Meta may choose another than was asked for
}

// CreateTemplate creates a template. It fails as Send does.
func (c *Client) CreateTemplate(ctx context.Context, r Request) (CreatedTemplate, error) {
	var created CreatedTemplate
	if err := c.post(ctx, r, &created); err != nil {
		return created, fmt.Errorf("create template: %w", err)
	}
	return created, nil
}
