package kapso

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// Webhook is a webhook of one number (OpenAPI: WhatsappWebhook). What Kapso does
// not say is nil or empty.
type Webhook struct {
	ID             string   `json:"id"`
	URL            string   `json:"url"`
	Kind           string   `json:"kind"` // kapso or meta
	Events         []string `json:"events"`
	Active         *bool    `json:"active"`
	PayloadVersion string   `json:"payload_version"`
	BufferEnabled  *bool    `json:"buffer_enabled"`
	SecretKey      string   `json:"secret_key"` // never to be printed
}

// WebhookChange is what a webhook shall become. What is nil or empty stays.
type WebhookChange struct {
	URL            string   `json:"url,omitempty"`
	Kind           string   `json:"kind,omitempty"` // for a new one only
	SecretKey      string   `json:"secret_key,omitempty"`
	Events         []string `json:"events,omitempty"`
	Active         *bool    `json:"active,omitempty"`
	PayloadVersion string   `json:"payload_version,omitempty"`
	BufferEnabled  *bool    `json:"buffer_enabled,omitempty"`
}

// Webhooks lists the webhooks of a number.
func (c *Client) Webhooks(ctx context.Context, phoneNumberID string) ([]Webhook, error) {
	var list []Webhook
	address := c.platform("whatsapp", "phone_numbers", phoneNumberID, "webhooks")
	err := c.pages(ctx, address, url.Values{}, func(token json.RawMessage) {
		var w Webhook
		if readable(token, &w) {
			list = append(list, w)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list the webhooks: %w", err)
	}
	return list, nil
}

// CreateWebhook makes a webhook for a number. It makes one attempt: after an
// ErrInDoubt, list the webhooks first.
func (c *Client) CreateWebhook(ctx context.Context, phoneNumberID string, w WebhookChange) error {
	address := c.platform("whatsapp", "phone_numbers", phoneNumberID, "webhooks")
	if err := c.change(ctx, http.MethodPost, address, w); err != nil {
		return fmt.Errorf("create the webhook: %w", err)
	}
	return nil
}

// UpdateWebhook changes a number's webhook.
func (c *Client) UpdateWebhook(ctx context.Context, phoneNumberID, id string, w WebhookChange) error {
	address := c.platform("whatsapp", "phone_numbers", phoneNumberID, "webhooks", id)
	if err := c.change(ctx, http.MethodPatch, address, w); err != nil {
		return fmt.Errorf("change the webhook: %w", err)
	}
	return nil
}

func (c *Client) change(ctx context.Context, method string, address *url.URL, w WebhookChange) error {
	if c.key() == "" {
		return ErrNoKey
	}
	body, err := encode(map[string]any{"whatsapp_webhook": w})
	if err != nil {
		return err
	}
	var answer json.RawMessage
	return c.once(ctx, method, address.String(), Request{Body: body, hide: []string{w.SecretKey}}, &answer)
}

// TestWebhook has Kapso send a test delivery. The event goes in the query and in
// the body: Kapso's OpenAPI description and its scripts disagree (tolerances.md,
// A15).
func (c *Client) TestWebhook(ctx context.Context, id string) error {
	if c.key() == "" {
		return ErrNoKey
	}
	address := c.platform("whatsapp", "webhooks", id, "test")
	address.RawQuery = url.Values{"event_type": {messageReceived}}.Encode()
	var answer struct {
		Data struct {
			Success *bool `json:"success"`
		} `json:"data"`
	}
	r := Request{Body: []byte(`{"event_type":"` + messageReceived + `"}`)}
	if err := c.once(ctx, http.MethodPost, address.String(), r, &answer); err != nil {
		return fmt.Errorf("ask for a test delivery: %w", err)
	}
	if answer.Data.Success != nil && !*answer.Data.Success {
		return errors.New("ask for a test delivery: Kapso says that it did not succeed")
	}
	return nil
}

// Attempted is a delivery as Kapso's list has it, without its body (OpenAPI:
// WebhookDelivery).
type Attempted struct {
	ID             string `json:"id"`
	Status         string `json:"status"`          // pending, delivered or failed; by ResponseStatus if Kapso does not say
	ResponseStatus int    `json:"response_status"` // HTTP; 0 if no answer came
}

// Attempts returns the newest deliveries of a webhook within 24 hours, 100 at
// most.
func (c *Client) Attempts(ctx context.Context, webhookID string) ([]Attempted, error) {
	query := url.Values{"webhook_id": {webhookID}, "period": {"24h"}, "limit": {"100"}}
	var answer struct {
		Data []json.RawMessage `json:"data"`
	}
	if err := c.get(ctx, c.platform("webhook_deliveries"), query, &answer); err != nil {
		return nil, fmt.Errorf("list the deliveries: %w", err)
	}
	var list []Attempted
	for _, token := range answer.Data {
		var a Attempted
		if readable(token, &a) {
			a.Status = cmp.Or(a.Status, statusOf(a.ResponseStatus))
			list = append(list, a)
		}
	}
	return list, nil
}

// statusOf tells how a delivery ended that got an answer. Kapso takes any other
// than 200 for a failure (kapso-facts.md, section 1).
func statusOf(answer int) string {
	switch answer {
	case 0:
		return "pending"
	case http.StatusOK:
		return "delivered"
	}
	return "failed"
}
