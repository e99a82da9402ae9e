package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/spool"
	"flowkeep/internal/store"
)

// One step of draining takes this much from the spool, and waits this long
// after a failure: doubling, with jitter, so that replicas do not march in step.
const (
	drainRecords   = 500
	drainBytes     = 8 << 20
	firstDrainWait = 100 * time.Millisecond
	maxDrainWait   = 5 * time.Second
)

// drain moves what is spooled into the database until ctx ends. It is also what
// finds out that the database is back.
func (k *keeper) drain(ctx context.Context) {
	wait := firstDrainWait
	for ctx.Err() == nil {
		more, err := k.drainStep(ctx)
		switch {
		case err != nil:
			pause(ctx, wait/2+rand.N(wait)) //nolint:gosec // jitter needs no secrecy
			wait = min(2*wait, maxDrainWait)
			continue
		case !more:
			select {
			case <-k.wake:
			case <-ctx.Done():
			}
		}
		wait = firstDrainWait
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// drainStep stores the oldest records, through the same writer as deliveries.
// It returns whether there may be more. An error means that the database, or
// the spool, is not to be had now.
func (k *keeper) drainStep(ctx context.Context) (more bool, err error) {
	if k.prepare != nil {
		if err := k.prepare(ctx); err != nil {
			k.notePrepare(ctx, err)
			return false, err
		}
		k.prepare = nil
	}
	entries, err := k.spool.Oldest(drainRecords, drainBytes)
	if err != nil {
		k.log.Error().Err(err).Msg("cannot read the spool")
		return false, err
	}
	if len(entries) == 0 {
		if !k.away.Load() {
			return false, nil
		}
		if err := k.db.Probe(ctx); err != nil {
			return false, err
		}
		k.welcome()
		return true, nil // something may have been spooled meanwhile
	}
	safe, err := k.storeEntries(ctx, entries)
	if removeErr := k.spool.Remove(safe...); removeErr != nil {
		// They come back after a restart, as duplicates.
		k.log.Warn().Err(removeErr).Msg("cannot clear drained records from the spool")
	}
	if err != nil {
		if ctx.Err() == nil {
			k.suspect(err)
		}
		return true, err
	}
	k.welcome()
	k.log.Info().Int("records", len(safe)).Int("left", k.spool.Stats().Records).Msg("drained the spool into the database")
	return true, nil
}

// notePrepare tells that the database cannot be used yet. One that is there and
// does not fit needs a person.
func (k *keeper) notePrepare(ctx context.Context, err error) {
	level := zerolog.WarnLevel
	if !errors.Is(err, store.ErrUnavailable) {
		level = zerolog.ErrorLevel
	}
	if ctx.Err() == nil {
		k.log.WithLevel(level).Err(err).Msg("cannot prepare the database: deliveries stay in the spool")
	}
}

// welcome takes the database for present.
func (k *keeper) welcome() {
	if k.away.Swap(false) {
		k.log.Info().Msg("the database is back")
	}
}

// storeEntries parses the entries anew and stores them, each with the headers
// and the time that it came with. It returns the keys of those that are safe.
func (k *keeper) storeEntries(ctx context.Context, entries []spool.Entry) (safe []uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*putTimeout)
	defer cancel()
	var (
		mu   sync.Mutex
		wait sync.WaitGroup
	)
	for _, e := range entries {
		wait.Go(func() {
			d := k.parser.Parse(flowparse.Input{
				Body: e.Body, Event: e.Event, IdempotencyKey: e.IdempotencyKey, ReceivedAt: e.ReceivedAt,
			})
			_, putErr := k.writer.Put(ctx, &d)
			mu.Lock()
			defer mu.Unlock()
			if putErr == nil {
				safe = append(safe, e.Key)
			} else {
				err = putErr
			}
		})
	}
	wait.Wait()
	return safe, err
}
