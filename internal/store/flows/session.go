package flows

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const beginSQL = `
SELECT pg_try_advisory_xact_lock($1), set_config('lock_timeout', '20ms', true),
	set_config('statement_timeout', '60s', true), set_config('synchronous_commit', 'off', true)`

// advisoryLock is held by the Keeper that works.
const advisoryLock int64 = 0x666c6f7773 // "flows"

// once does something in one transaction, while no other Keeper works. It waits
// for no lock: whoever came behind it would wait as well. What is lost in a
// crash is lost whole, and done again.
func (k *Keeper) once(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, beginSQL, advisoryLock).Scan(&mine, nil, nil, nil); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		if !mine {
			return ErrBusy
		}
		return do(tx)
	})
}

// insist does it again as long as the views are in use.
func (k *Keeper) insist(ctx context.Context, do func() error) error {
	deadline := time.Now().Add(insistFor)
	for {
		err := do()
		busy := errors.Is(err, ErrBusy) || isInUse(err)
		if err == nil || !busy || time.Now().After(deadline) {
			return err
		}
		pause(ctx, 50*time.Millisecond+rand.N(100*time.Millisecond)) //nolint:gosec // jitter needs no secrecy
		if ctx.Err() != nil {
			return ctx.Err()
		}
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

// isInUse says that somebody's query or change is in the way.
func isInUse(err error) bool {
	switch sqlState(err) {
	case "55P03", "40P01", "57014":
		return true
	}
	return false
}

func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}
