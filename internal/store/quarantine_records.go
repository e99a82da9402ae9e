package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNoRecord means that quarantine holds no such record, or that it was
// settled meanwhile.
var ErrNoRecord = errors.New("no such record in quarantine")

// How a record of quarantine was dealt with. DroppedErased is never in the
// table, since the record is not either.
const (
	SettledStored    = "stored"    // its responses are in flow_responses now
	SettledDuplicate = "duplicate" // they were there already
	SettledIgnored   = "ignored"   // it holds no Flow response
	SettledDiscarded = "discarded" // a person gave it up
	DroppedErased    = "erased"    // it held what is erased
)

// QuarantineRecord is one record of quarantine.
type QuarantineRecord struct {
	ID         int64
	ReceivedAt time.Time
	Source     string
	Reason     string
	Detail     string
	Headers    map[string]string
	Bytes      int64  // length of the body
	Body       []byte // nil in a list
	SettledAt  *time.Time
	SettledAs  *string
}

// QuarantineFilter chooses records. The zero value chooses all that wait.
type QuarantineFilter struct {
	Reason  string    // empty: any
	Since   time.Time // received at or after; zero: any
	Until   time.Time // received before; zero: any
	Settled bool      // those that are settled, instead of those that wait
}

const quarantineWhereSQL = `
WHERE (settled_at IS NOT NULL) = $1 AND ($2::text = '' OR reason = $2)
	AND ($3::timestamptz IS NULL OR received_at >= $3) AND ($4::timestamptz IS NULL OR received_at < $4)`

// args returns the first arguments of a statement with quarantineWhereSQL.
func (f QuarantineFilter) args(more ...any) []any {
	return append([]any{f.Settled, f.Reason, unlessZero(f.Since), unlessZero(f.Until)}, more...)
}

func unlessZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

const listQuarantineSQL = `
SELECT id, received_at, source, reason, detail, headers, length(body) AS bytes, NULL::bytea AS body, settled_at, settled_as
FROM quarantine` + quarantineWhereSQL + ` AND id < $5 ORDER BY id DESC LIMIT $6`

// QuarantineRecords lists up to limit records without their bodies, newest
// first, from below the given id; 0 means from the newest.
func (db *DB) QuarantineRecords(ctx context.Context, f QuarantineFilter, below int64, limit int) ([]QuarantineRecord, error) {
	if below == 0 {
		below = math.MaxInt64
	}
	rows, _ := db.pool.Query(ctx, listQuarantineSQL, f.args(below, limit)...) // CollectRows returns the error
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[QuarantineRecord])
	if err != nil {
		return nil, fmt.Errorf("list quarantine: %w", err)
	}
	return list, nil
}

const quarantineRecordSQL = `
SELECT id, received_at, source, reason, detail, headers, length(body) AS bytes, body, settled_at, settled_as
FROM quarantine WHERE id = $1`

// QuarantineRecord returns one record with its body. It fails with ErrNoRecord
// if there is none.
func (db *DB) QuarantineRecord(ctx context.Context, id int64) (QuarantineRecord, error) {
	rows, _ := db.pool.Query(ctx, quarantineRecordSQL, id) // CollectExactlyOneRow returns the error
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[QuarantineRecord])
	if errors.Is(err, pgx.ErrNoRows) {
		return r, fmt.Errorf("%w: %d", ErrNoRecord, id)
	}
	if err != nil {
		return r, fmt.Errorf("read quarantine: %w", err)
	}
	return r, nil
}

const quarantineIDsSQL = `SELECT id FROM quarantine` + quarantineWhereSQL + ` AND id > $5 ORDER BY id LIMIT $6`

// QuarantineIDs returns up to limit ids above the given one, in the order of
// arrival.
func (db *DB) QuarantineIDs(ctx context.Context, f QuarantineFilter, above int64, limit int) ([]int64, error) {
	rows, _ := db.pool.Query(ctx, quarantineIDsSQL, f.args(above, limit)...) // CollectRows returns the error
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("list quarantine: %w", err)
	}
	return ids, nil
}

const settleQuarantineSQL = `
UPDATE quarantine SET settled_at = clock_timestamp(), settled_as = $2
WHERE id = ANY($1::bigint[]) AND settled_at IS NULL RETURNING id`

// SettleQuarantine marks records that wait as dealt with, and returns which
// they were: those that are not there, or were settled before, are not among
// them.
func (db *DB) SettleQuarantine(ctx context.Context, ids []int64, as string) ([]int64, error) {
	rows, _ := db.pool.Query(ctx, settleQuarantineSQL, ids, as) // CollectRows returns the error
	settled, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("settle quarantine: %w", err)
	}
	return settled, nil
}
