package kapso_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"flowkeep/internal/kapso"
	"flowkeep/internal/kapso/kapsotest"
)

// reading returns a client of k.
func reading(t *testing.T, k *kapsotest.Server, key string) *kapso.Client {
	t.Helper()
	client, err := kapso.New(k.URL(), key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// A read waits for as long as Kapso asks for, and tries again what may pass.
func TestRead_WaitsAndTriesAgain(t *testing.T) {
	t.Parallel()
	k := kapsotest.New(t)
	k.AddNumber("1")
	k.Break(func(n int, _ *http.Request) int {
		return map[int]int{1: http.StatusTooManyRequests, 2: http.StatusBadGateway}[n]
	})
	start := time.Now()
	numbers, err := reading(t, k, kapsotest.Key).PhoneNumbers(t.Context())
	if err != nil || len(numbers) != 1 || k.Requests() != 3 || time.Since(start) < 2*time.Second {
		t.Errorf("%v, %q after %d requests and %v", err, numbers, k.Requests(), time.Since(start))
	}
}

func TestRead_GivesUpOnWhatStays(t *testing.T) {
	t.Parallel()
	k := kapsotest.New(t)
	window := kapso.Window{PhoneNumberID: "1", Since: time.Now().Add(-time.Hour), Until: time.Now()}
	for _, read := range []func(*kapso.Client) error{
		func(c *kapso.Client) error { _, err := c.PhoneNumbers(t.Context()); return err },
		func(c *kapso.Client) error { _, err := c.MessageHistory(t.Context(), window, ""); return err },
		func(c *kapso.Client) error { _, err := c.DeliveryLog(t.Context(), window, ""); return err },
		func(c *kapso.Client) error { _, err := c.Webhooks(t.Context(), "1"); return err },
		func(c *kapso.Client) error { _, err := c.Attempts(t.Context(), "1"); return err },
	} {
		err := read(reading(t, k, "wrong"))
		refusal, ok := errors.AsType[*kapso.Error](err)
		if !ok || refusal.Status != http.StatusUnauthorized || errors.Is(err, kapso.ErrNoLog) || !strings.Contains(err.Error(), "check KAPSO_API_KEY") {
			t.Errorf("%v", err)
		}
		if err := read(reading(t, k, "")); !errors.Is(err, kapso.ErrNoKey) {
			t.Errorf("%v", err)
		}
	}
	if k.Requests() != 5 {
		t.Errorf("%d requests", k.Requests())
	}
}

// Whatever Kapso says about a webhook that it refuses, the secret is not in it.
func TestCreateWebhook_HidesTheSecret(t *testing.T) {
	t.Parallel()
	k := kapsotest.New(t)
	err := reading(t, k, kapsotest.Key).CreateWebhook(t.Context(), "1", kapso.WebhookChange{SecretKey: "hush-hush"})
	if err == nil || strings.Contains(err.Error(), "hush-hush") || !strings.Contains(err.Error(), "Invalid webhook") {
		t.Errorf("%v", err)
	}
}

// A window that reaches further back than a week asks for 30 days, and is
// content with 7 where Kapso has no more.
func TestDeliveryLog_LongWindow(t *testing.T) {
	t.Parallel()
	k := kapsotest.New(t)
	k.AddLog("1", map[string]any{"timestamp": time.Now().Add(-time.Hour), "payload": map[string]any{"request_body": "{}"}})
	window := kapso.Window{PhoneNumberID: "1", Since: time.Now().Add(-20 * 24 * time.Hour), Until: time.Now()}
	page, err := reading(t, k, kapsotest.Key).DeliveryLog(t.Context(), window, "")
	if err != nil || len(page.Found) != 1 || string(page.Found[0].Body) != "{}" || k.Requests() != 2 {
		t.Errorf("%v, %+v after %d requests", err, page, k.Requests())
	}
	k.HideLog()
	if _, err := reading(t, k, kapsotest.Key).DeliveryLog(t.Context(), window, ""); !errors.Is(err, kapso.ErrNoLog) {
		t.Errorf("%v", err)
	}
}
