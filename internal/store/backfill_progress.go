package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// BackfillProgress is how far a number is compared with Kapso's history, and
// what its last run found.
type BackfillProgress struct {
	PhoneNumberID string
	CompleteUntil *time.Time // nil before the first run that reached its end
	LastRunAt     *time.Time // nil before the first run
	Seen          int64
	Here          int64
	Added         int64
	Unreadable    int64
	Fault         string // why the last run failed; empty if it did not
}

const knowNumbersSQL = `INSERT INTO backfill_progress (phone_number_id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING`

const claimBackfillSQL = `
UPDATE backfill_progress SET next_run_at = clock_timestamp() + $2::float8 * interval '1 second'
WHERE phone_number_id = (
	SELECT phone_number_id FROM backfill_progress
	WHERE phone_number_id = ANY ($1::text[]) AND next_run_at <= clock_timestamp()
	ORDER BY next_run_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING phone_number_id, complete_until, last_run_at, seen, here, added, unreadable, fault`

// ClaimBackfill takes one of the numbers that is due, so that no other server
// looks at it for as long as the lease. It returns false if none is. Nothing but
// a row of the table is held: it works through a pooler.
func (db *DB) ClaimBackfill(ctx context.Context, numbers []string, lease time.Duration) (BackfillProgress, bool, error) {
	if _, err := db.pool.Exec(ctx, knowNumbersSQL, numbers); err != nil {
		return BackfillProgress{}, false, fmt.Errorf("note numbers: %w", unavailable(err))
	}
	rows, _ := db.pool.Query(ctx, claimBackfillSQL, numbers, lease.Seconds())
	p, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[BackfillProgress])
	if errors.Is(err, pgx.ErrNoRows) {
		return p, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("claim a number: %w", unavailable(err))
	}
	return p, true, nil
}

const holdBackfillSQL = `
UPDATE backfill_progress SET next_run_at = clock_timestamp() + $2::float8 * interval '1 second' WHERE phone_number_id = $1`

// HoldBackfill renews a claim, or ends it with a lease of nothing.
func (db *DB) HoldBackfill(ctx context.Context, number string, lease time.Duration) error {
	if _, err := db.pool.Exec(ctx, holdBackfillSQL, number, lease.Seconds()); err != nil {
		return fmt.Errorf("hold a number: %w", unavailable(err))
	}
	return nil
}

const noteBackfillSQL = `
UPDATE backfill_progress SET
	complete_until = greatest(complete_until, $2), last_run_at = clock_timestamp(),
	seen = $3, here = $4, added = $5, unreadable = $6, fault = $7,
	next_run_at = clock_timestamp() + $8::float8 * interval '1 second'
WHERE phone_number_id = $1`

// NoteBackfill notes how a run ended, and when the next one is due. It never
// takes back what was complete; LastRunAt is now.
func (db *DB) NoteBackfill(ctx context.Context, p *BackfillProgress, next time.Duration) error {
	_, err := db.pool.Exec(ctx, noteBackfillSQL, p.PhoneNumberID, p.CompleteUntil,
		p.Seen, p.Here, p.Added, p.Unreadable, p.Fault, next.Seconds())
	if err != nil {
		return fmt.Errorf("note a run: %w", unavailable(err))
	}
	return nil
}

const backfillProgressSQL = `
SELECT phone_number_id, complete_until, last_run_at, seen, here, added, unreadable, fault
FROM backfill_progress WHERE phone_number_id = ANY ($1::text[]) ORDER BY phone_number_id`

// BackfillProgress returns what is known of the numbers, whichever server did
// the work.
func (db *DB) BackfillProgress(ctx context.Context, numbers []string) ([]BackfillProgress, error) {
	rows, _ := db.pool.Query(ctx, backfillProgressSQL, numbers)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[BackfillProgress])
	if err != nil {
		return nil, fmt.Errorf("read the progress: %w", unavailable(err))
	}
	return list, nil
}
