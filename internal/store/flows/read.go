package flows

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// horizonSQL returns a time before which no row can appear any more: writers
// that are under way began after it. A time, once passed, is never looked at
// again, so every row is seen once, in order. A writer that hangs for longer
// than a minute is not waited for.
const horizonSQL = `
SELECT coalesce(min(xact_start), clock_timestamp()) - interval '50 milliseconds'
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'
	AND (backend_xid IS NOT NULL OR wait_event_type = 'Lock')
	AND xact_start > clock_timestamp() - interval '1 minute'`

// rowsSQL reads the next answers of a flow by the index on (flow_id, stored_at).
const rowsSQL = `
SELECT message_id, stored_at, received_at, response FROM flow_responses
WHERE flow_id = $1 AND stored_at >= $2 AND (stored_at, message_id) > ($2, $3)
ORDER BY stored_at, message_id LIMIT 1000`

const rowsPage = 1000

// readNew looks at the answers of a flow that came since the last time, up to a
// page of them. It returns whether there is more to be looked at: now, or later.
func (f *flow) readNew(ctx context.Context, tx pgx.Tx) (now, later bool, err error) {
	var horizon time.Time
	if err := tx.QueryRow(ctx, horizonSQL).Scan(&horizon); err != nil {
		return false, false, fmt.Errorf("read who is writing: %w", err)
	}
	rows, later, err := readRows(ctx, tx, f, horizon)
	if err != nil {
		return false, false, fmt.Errorf("read the answers of a flow: %w", err)
	}
	for i := range rows {
		r := &rows[i]
		order := f.newKeys(r)
		if len(order) > 1 {
			if order, err = inFormOrder(ctx, tx, r.messageID, order); err != nil {
				return false, false, err
			}
		}
		f.add(r, order)
	}
	return len(rows) == rowsPage, later, nil
}

// errEnough stops the reading of rows.
var errEnough = errors.New("enough")

// readRows keeps of each row only what it says of its keys. later tells that
// there are rows beyond the horizon.
func readRows(ctx context.Context, tx pgx.Tx, f *flow, horizon time.Time) (list []row, later bool, err error) {
	rows, err := tx.Query(ctx, rowsSQL, f.id, f.readUntil, f.readID)
	if err != nil {
		return nil, false, err
	}
	var r row
	var response []byte
	_, err = pgx.ForEachRow(rows, []any{&r.messageID, &r.storedAt, &r.receivedAt, &response}, func() error {
		if !r.storedAt.Before(horizon) {
			return errEnough
		}
		r.answers, r.more, r.list = readAnswers(response)
		list = append(list, r)
		return nil
	})
	if errors.Is(err, errEnough) {
		return list, true, nil
	}
	return list, false, err
}

// inFormOrder sorts the keys of a response into the order in which the form
// sent them.
func inFormOrder(ctx context.Context, tx pgx.Tx, messageID string, keys []string) ([]string, error) {
	sent, err := formOrder(ctx, tx, messageID)
	if err != nil {
		return nil, err
	}
	place := func(key string) int {
		if i := slices.Index(sent, key); i >= 0 {
			return i
		}
		return len(sent)
	}
	slices.SortStableFunc(keys, func(a, b string) int { return place(a) - place(b) })
	return keys, nil
}
