package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/spool"
	"flowkeep/internal/store"
	"flowkeep/internal/webhook"
)

// How long a delivery waits for the database, and then for the spool. Kapso
// gives up on an answer after 10 s (kapso-facts.md, section 1).
const (
	putTimeout   = 4 * time.Second
	spoolTimeout = 4 * time.Second
)

// statusShare is the part of the spool that may hold statuses: half of it. What
// became of a message is worth less than an answer that finds no room.
const statusShare = 2

// keeper is where deliveries go: it is the webhook's Sink. It asks the writer
// first. What the writer cannot take in time goes to the spool, and from there
// to the same writer later: see drain.go.
type keeper struct {
	writer  *store.Writer
	spool   *spool.Spool
	db      *store.DB
	parser  *flowparse.Parser
	prepare func(context.Context) error // brings the schema up to date; nil once that is done
	log     zerolog.Logger

	away atomic.Bool   // the database did not answer last time: go straight to the spool
	wake chan struct{} // holds a token while there may be work for drain
}

func newKeeper(w *store.Writer, s *spool.Spool, db *store.DB, p *flowparse.Parser, log zerolog.Logger) *keeper {
	k := &keeper{writer: w, spool: s, db: db, parser: p, log: log, wake: make(chan struct{}, 1)}
	k.wake <- struct{}{} // what an earlier process left in the spool
	return k
}

// Keep implements webhook.Sink.
func (k *keeper) Keep(ctx context.Context, d *flowparse.Delivery) (webhook.Kept, error) {
	// A sender that hangs up cannot cut the work in half: it will retry, and
	// then its delivery is a duplicate.
	ctx = context.WithoutCancel(ctx)
	results := make([]store.Result, len(d.Responses)+len(d.Rejects)+len(d.Statuses))
	if !k.away.Load() {
		put, cancel := context.WithTimeout(ctx, putTimeout)
		known, err := k.writer.Put(put, d)
		cancel()
		if known != nil {
			results = known
		}
		if err == nil {
			return count(results), nil
		}
		k.suspect(err)
	}
	rest := leftOver(d, results)
	kept := count(results)
	kept.Spooled = len(rest)
	if stats := k.spool.Stats(); stats.Bytes < stats.MaxBytes/statusShare {
		rest = append(rest, leftStatuses(d, results)...)
	}
	if len(rest) == 0 {
		return kept, nil
	}
	spooling, cancel := context.WithTimeout(ctx, spoolTimeout)
	defer cancel()
	if err := k.spool.Append(spooling, rest); err != nil {
		return webhook.Kept{}, fmt.Errorf("%w: %w", webhook.ErrUnavailable, err)
	}
	k.nudge()
	return kept, nil
}

// suspect takes the database for away after a failed Put, unless it was only
// that too much waited for it.
func (k *keeper) suspect(err error) {
	if errors.Is(err, store.ErrQueueFull) || errors.Is(err, store.ErrClosed) {
		return
	}
	if !k.away.Swap(true) {
		k.log.Error().Err(err).Msg("the database is away: deliveries go to the spool")
	}
	k.nudge()
}

// nudge wakes drain.
func (k *keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// leftOver returns a record for each item of d that is not known to be
// committed. It may commit yet: doubles are harmless.
func leftOver(d *flowparse.Delivery, results []store.Result) []spool.Record {
	var rest []spool.Record
	for i, r := range results[:len(d.Responses)+len(d.Rejects)] {
		if r != store.Unknown {
			continue
		}
		record := recordOf(d)
		if i < len(d.Responses) {
			record.Body = d.Responses[i].Envelope()
		} else {
			record.Body = d.Rejects[i-len(d.Responses)].Body
		}
		rest = append(rest, record)
	}
	return rest
}

// leftStatuses returns a record for each status of d that is not known to be in
// the register. The answer counts them as ignored, whatever becomes of them.
func leftStatuses(d *flowparse.Delivery, results []store.Result) []spool.Record {
	var rest []spool.Record
	for i, r := range results[len(d.Responses)+len(d.Rejects):] {
		if r == store.Unknown {
			record := recordOf(d)
			record.Body = d.Statuses[i].Envelope()
			rest = append(rest, record)
		}
	}
	return rest
}

// recordOf returns a record of an item of d, without the item.
func recordOf(d *flowparse.Delivery) spool.Record {
	return spool.Record{ReceivedAt: d.ReceivedAt, Source: string(d.Source), Event: d.Event, IdempotencyKey: d.IdempotencyKey}
}

func count(results []store.Result) webhook.Kept {
	var kept webhook.Kept
	for _, r := range results {
		switch r {
		case store.Stored:
			kept.Stored++
		case store.Duplicate:
			kept.Duplicate++
		case store.Quarantined:
			kept.Quarantined++
		case store.TurnedAway, store.Erased: // not kept, on purpose: ignored is what the sender can be told
			kept.Ignored++
		}
	}
	return kept
}

// keepDurably is the Sink of a server in earnest.
func keepDurably(a *App) webhook.Sink { return a.keeper }
