package kapso

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ErrNoLog says that Kapso's delivery log cannot be searched at the moment, or
// not with this key.
var ErrNoLog = errors.New("the delivery log is not available")

// logLimit is the number of entries on a page. Each can be a batch of 100
// messages, so a page of Kapso's largest size (100) might not fit maxPage.
const logLimit = 50

// messageReceived is the event that carries answers.
const messageReceived = "whatsapp.message.received"

// loggedEvent is a search result, of which only the id and the source are sure
// (OpenAPI: LogSearchEvent). The body that was posted is in the payload
// (kapso-facts.md, section 5).
type loggedEvent struct {
	Timestamp     string `json:"timestamp"`
	OccurredAt    string `json:"occurred_at"`
	IngestedAt    string `json:"ingested_at"`
	Event         string `json:"event"`
	EventType     string `json:"event_type"`
	PhoneNumberID string `json:"phone_number_id"`
	Payload       struct {
		RequestBody json.RawMessage `json:"request_body"`
	} `json:"payload"`
}

// DeliveryLog reads a page of what Kapso posted, or tried to post, for a number:
// the very bytes. The empty cursor asks for the first page. Deliveries without a
// number or a time count as in the window. It fails with ErrNoLog, or with what
// a call fails with.
//
// Kapso's search knows no window, only periods that end now. So a page may hold
// nothing of the window, and the last is the one that is older.
func (c *Client) DeliveryLog(ctx context.Context, w Window, cursor string) (Page, error) {
	var answer struct {
		Data struct {
			Available  *bool             `json:"available"`
			Events     []json.RawMessage `json:"events"`
			Pagination struct {
				HasMore    *bool  `json:"has_more"`
				NextCursor string `json:"next_cursor"`
			} `json:"pagination"`
		} `json:"data"`
	}
	if err := c.searchLog(ctx, w, cursor, &answer); err != nil {
		return Page{}, fmt.Errorf("search the delivery log: %w", err)
	}
	data := &answer.Data
	if data.Available != nil && !*data.Available {
		return Page{}, fmt.Errorf("search the delivery log: %w", ErrNoLog)
	}
	page := Page{Next: data.Pagination.NextCursor}
	older := len(data.Events) > 0
	for _, token := range data.Events {
		var e loggedEvent
		if !readable(token, &e) {
			continue
		}
		at := firstTime(e.Timestamp, e.OccurredAt, e.IngestedAt)
		older = older && !at.IsZero() && at.Before(w.Since)
		if found, wanted := e.found(); wanted && e.within(at, w) {
			found.At = at
			page.Found = append(page.Found, found)
		}
	}
	if older || data.Pagination.HasMore != nil && !*data.Pagination.HasMore {
		page.Next = ""
	}
	return page, nil
}

// logSearch is a search of the log (OpenAPI: LogSearchRequest).
type logSearch struct {
	Source  string            `json:"source"`
	Period  string            `json:"period"`
	Limit   int               `json:"limit"`
	Cursor  string            `json:"cursor,omitempty"`
	Filters map[string]string `json:"filters"`
}

// searchLog asks for the shortest period that reaches back to the window. 30 days
// are in Kapso's own scripts and not in its OpenAPI description: if they are
// refused, there are 7.
func (c *Client) searchLog(ctx context.Context, w Window, cursor string, answer any) error {
	const day = 24 * time.Hour
	periods := []string{"30d", "7d"}
	switch age := time.Since(w.Since); {
	case age <= day:
		periods = []string{"24h"}
	case age <= 7*day:
		periods = []string{"7d"}
	}
	var err error
	for _, period := range periods {
		body, encodeErr := encode(logSearch{
			Source: "webhook_delivery", Period: period, Limit: logLimit, Cursor: cursor,
			Filters: map[string]string{"phone_number_id": w.PhoneNumberID},
		})
		if encodeErr != nil {
			return encodeErr
		}
		err = c.read(ctx, http.MethodPost, c.platform("log_search"), Request{Body: body}, answer)
		if refusal, ok := errors.AsType[*Error](err); !ok || refusal.Status != http.StatusBadRequest && refusal.Status != http.StatusUnprocessableEntity {
			break
		}
	}
	refusal, refused := errors.AsType[*Error](err)
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, ErrUnreachable), errors.Is(err, ErrNoKey):
		return err
	case refused && (refusal.Status == http.StatusUnauthorized || refusal.Status == http.StatusTooManyRequests):
		return err // the history would say the same
	}
	return fmt.Errorf("%w: %w", ErrNoLog, err)
}

func (e *loggedEvent) within(at time.Time, w Window) bool {
	return (e.PhoneNumberID == "" || e.PhoneNumberID == w.PhoneNumberID) &&
		(at.IsZero() || !at.Before(w.Since) && !at.After(w.Until))
}

// found returns the delivery, unless its event carries no answers.
func (e *loggedEvent) found() (Found, bool) {
	event := cmp.Or(e.Event, e.EventType)
	if !strings.HasPrefix(event, "whatsapp.") {
		event = "" // a word of the log's own
	}
	if event != "" && event != messageReceived {
		return Found{}, false
	}
	body := bytes.TrimSpace(e.Payload.RequestBody)
	switch {
	case bytes.Equal(body, []byte("null")):
		body = nil
	case len(body) > 0 && body[0] == '"':
		var text string
		_ = json.Unmarshal(body, &text) // it is a string that was read before
		body = []byte(text)
	}
	return Found{Body: body, Event: event}, true
}
