package kapso

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// historyFields are Kapso's own fields of a message: the answers as Kapso read
// them, and who and where (kapso-facts.md, sections 2 and 5).
const historyFields = "kapso(flow_response,flow_token,flow_name,contact_name,whatsapp_conversation_id)"

// MessageHistory reads a page of the messages that people sent to a number. The
// empty cursor asks for the first page. Each is put into the shape of a webhook's
// body, so that the same parser reads it.
func (c *Client) MessageHistory(ctx context.Context, w Window, cursor string) (Page, error) {
	query := url.Values{
		"direction": {"inbound"}, "limit": {"100"}, "fields": {historyFields},
		"since": {w.Since.UTC().Format(time.RFC3339)}, "until": {w.Until.UTC().Format(time.RFC3339)},
	}
	if cursor != "" {
		query.Set("after", cursor)
	}
	var answer struct {
		Data     []json.RawMessage `json:"data"`
		Messages []json.RawMessage `json:"messages"`
		Paging   cursors           `json:"paging"`
	}
	address := c.base.JoinPath(version, url.PathEscape(w.PhoneNumberID), "messages")
	if err := c.get(ctx, address, query, &answer); err != nil {
		return Page{}, fmt.Errorf("read the message history: %w", err)
	}
	number, err := encode(w.PhoneNumberID)
	if err != nil {
		return Page{}, fmt.Errorf("read the message history: %w", err)
	}
	var page Page
	for _, message := range slices.Concat(answer.Data, answer.Messages) {
		body := slices.Concat([]byte(`{"message":`), message, []byte(`,"phone_number_id":`), number, []byte(`}`))
		page.Found = append(page.Found, Found{Body: body, Event: messageReceived})
	}
	if len(page.Found) > 0 { // some lists have a cursor behind their last item
		page.Next = answer.Paging.Cursors.After
	}
	return page, nil
}

// PhoneNumbers returns Meta's id of every number that the key can see.
func (c *Client) PhoneNumbers(ctx context.Context) ([]string, error) {
	var ids []string
	err := c.pages(ctx, c.platform("whatsapp", "phone_numbers"), url.Values{}, func(token json.RawMessage) {
		var number struct {
			ID            string `json:"id"`
			PhoneNumberID string `json:"phone_number_id"`
		}
		if !readable(token, &number) {
			return
		}
		if number.PhoneNumberID == "" {
			number.PhoneNumberID = number.ID // the same, by the OpenAPI description
		}
		if number.PhoneNumberID != "" && !slices.Contains(ids, number.PhoneNumberID) {
			ids = append(ids, number.PhoneNumberID)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list the phone numbers: %w", err)
	}
	return ids, nil
}

// maxPages bounds a list of numbers or webhooks: 10,000 of them.
const maxPages = 100

// pages reads a list of the platform API, which is paged by number (OpenAPI:
// PaginationMeta).
func (c *Client) pages(ctx context.Context, address *url.URL, query url.Values, each func(json.RawMessage)) error {
	query.Set("per_page", "100")
	for page := 1; page <= maxPages; page++ {
		query.Set("page", fmt.Sprint(page))
		var answer struct {
			Data []json.RawMessage `json:"data"`
			Meta struct {
				TotalPages int `json:"total_pages"`
			} `json:"meta"`
		}
		if err := c.get(ctx, address, query, &answer); err != nil {
			return err
		}
		for _, token := range answer.Data {
			each(token)
		}
		if len(answer.Data) == 0 || page >= answer.Meta.TotalPages {
			return nil
		}
	}
	return nil
}
