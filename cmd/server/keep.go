package main

import (
	"context"
	"fmt"
	"time"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store"
	"flowkeep/internal/webhook"
)

// keepTimeout bounds how long a delivery waits to be made durable. Kapso gives
// up on an answer after 10 s (kapso-facts.md, section 1).
const keepTimeout = 8 * time.Second

// keeper is where deliveries go: it is the webhook's Sink.
type keeper struct {
	writer *store.Writer
}

// keepDurably is the Sink of a server in earnest.
func keepDurably(a *App) webhook.Sink { return &keeper{writer: a.writer} }

// Keep implements webhook.Sink.
func (k *keeper) Keep(ctx context.Context, d *flowparse.Delivery) (webhook.Kept, error) {
	// A sender that hangs up cannot cut the work in half: it will retry, and
	// then its delivery is a duplicate.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
	defer cancel()
	results, err := k.writer.Put(ctx, d)
	if err != nil {
		return webhook.Kept{}, fmt.Errorf("%w: %w", webhook.ErrUnavailable, err)
	}
	var kept webhook.Kept
	for _, r := range results {
		switch r {
		case store.Stored:
			kept.Stored++
		case store.Duplicate:
			kept.Duplicate++
		case store.Quarantined:
			kept.Quarantined++
		}
	}
	return kept, nil
}
