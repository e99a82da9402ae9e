package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"

	"flowkeep/internal/kapso"
)

// eventReceived is the event that carries answers.
const eventReceived = "whatsapp.message.received"

// knownSecrets are the configured ones, else the generated one, else none: a
// command makes no new one.
func knownSecrets(c config) ([]string, error) {
	if len(c.KapsoSecrets) > 0 {
		return c.KapsoSecrets, nil
	}
	text, err := os.ReadFile(secretPath(c.DataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read generated secret: %w", err)
	}
	return []string{strings.TrimSpace(string(text))}, nil
}

// examine says for each setting of a webhook whether it is right. A setting that
// Kapso does not tell counts as right.
func examine(w *kapso.Webhook, secrets []string) []finding {
	const setRight = "flowkeep webhook create --url … sets it right"
	list := []finding{{Check: "webhook", Text: w.URL}}
	add := func(check string, good bool, right, wrong, todo string) {
		if good {
			list = append(list, finding{Check: check, Text: right})
		} else {
			list = append(list, finding{Check: check, Problem: true, Text: wrong, ToDo: todo})
		}
	}
	add("active", w.Active == nil || *w.Active, "it is active",
		"it is paused: Kapso delivers nothing", "mend the cause, see the deliveries below; then flowkeep webhook resume")
	if w.Kind != "meta" { // which has neither events nor a version nor a buffer
		add("version", w.PayloadVersion == "" || w.PayloadVersion == "v2", "payload version v2",
			"payload version "+printable(w.PayloadVersion)+", which is not documented any more", setRight)
		add("buffering", w.BufferEnabled == nil || !*w.BufferEnabled, "buffering is off",
			"buffering is on: batches have been reported to vanish", setRight)
		add("events", slices.Contains(w.Events, eventReceived), "subscribed to "+eventReceived,
			"not subscribed to "+eventReceived+", which carries the answers", setRight)
	}
	switch {
	case len(secrets) == 0:
		add("secret", false, "", "there is none to compare with", "set KAPSO_WEBHOOK_SECRET as the server has it")
	case w.SecretKey == "" || strings.ContainsAny(w.SecretKey, "*•…"):
		add("secret", true, "Kapso does not show it; flowkeep webhook test tries it", "", "")
	default:
		add("secret", slices.Contains(secrets, w.SecretKey), "it is one of those configured here",
			"it is none of those configured here: every delivery is refused with 401", setRight+", or add it to KAPSO_WEBHOOK_SECRET")
	}
	return list
}

// judgeAttempts says how the last deliveries ended: one finding for each kind of
// failure.
func judgeAttempts(attempts []kapso.Attempted) []finding {
	delivered, pending := 0, 0
	failed := map[int]int{} // by the status that Kapso got
	for _, a := range attempts {
		switch a.Status {
		case "delivered":
			delivered++
		case "pending":
			pending++
		default:
			failed[a.ResponseStatus]++
		}
	}
	if len(attempts) == 0 {
		return []finding{{Check: "deliveries", Text: "none within 24 hours"}}
	}
	list := []finding{{Check: "deliveries", Text: fmt.Sprintf("of the last %d within 24 hours, %d delivered, %d pending", len(attempts), delivered, pending)}}
	for _, status := range slices.Sorted(maps.Keys(failed)) {
		text := fmt.Sprintf("%d failed with status %d", failed[status], status)
		if status == 0 {
			text = fmt.Sprintf("%d failed without an answer", failed[status])
		}
		list = append(list, finding{Check: "deliveries", Problem: true, Text: text, ToDo: statusAdvice(status)})
	}
	return list
}

// statusAdvice says what an answer other than 200 to a delivery points at.
func statusAdvice(status int) string {
	switch {
	case status == 0:
		return "is the host up, and reachable over HTTPS from outside? Answers must come within 10 s"
	case status == http.StatusOK:
		return "it answered 200: it was too slow, or failed at Kapso"
	case status == http.StatusUnauthorized:
		return "the webhook's secret is none of KAPSO_WEBHOOK_SECRET: flowkeep webhook create --url … sets it"
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return "the path is wrong: it ends in /webhooks/kapso"
	case status == http.StatusRequestEntityTooLarge:
		return "raise the proxy's limit on bodies, or FLOWKEEP_MAX_BODY_BYTES"
	case status/100 == 3:
		return "the URL leads elsewhere: give the webhook the address that answers"
	case status == http.StatusBadGateway || status == http.StatusGatewayTimeout:
		return "the proxy before flowkeep does not reach it"
	case status >= http.StatusInternalServerError:
		return "flowkeep could not store it: see its log and GET /readyz"
	}
	return "something before flowkeep answers: look at the proxy"
}

// rightWebhook is how a webhook should be set.
func rightWebhook(address, secret string) kapso.WebhookChange {
	active, buffer := true, false
	return kapso.WebhookChange{
		URL: address, Kind: "kapso", SecretKey: secret, Events: []string{eventReceived},
		Active: &active, PayloadVersion: "v2", BufferEnabled: &buffer,
	}
}

// correction returns what makes an existing webhook right, and what that changes
// in words. The secret is always set: Kapso may not show which one it has. Its
// other events stay.
func correction(w *kapso.Webhook, right kapso.WebhookChange) (change kapso.WebhookChange, changes []string) {
	change = kapso.WebhookChange{SecretKey: right.SecretKey, Active: right.Active}
	if w.SecretKey != right.SecretKey {
		changes = append(changes, "secret set")
	}
	if w.Active == nil || !*w.Active {
		changes = append(changes, "active")
	}
	if w.Kind != "meta" {
		change.PayloadVersion, change.BufferEnabled, change.Events = right.PayloadVersion, right.BufferEnabled, w.Events
		if w.PayloadVersion != right.PayloadVersion {
			changes = append(changes, "payload version v2")
		}
		if w.BufferEnabled != nil && *w.BufferEnabled {
			changes = append(changes, "buffering off")
		}
		if !slices.Contains(w.Events, eventReceived) {
			change.Events = append(slices.Clone(w.Events), eventReceived)
			changes = append(changes, "subscribed to "+eventReceived)
		}
	}
	if len(changes) == 0 {
		changes = []string{"nothing had to change"}
	}
	return change, changes
}
