package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// hasErasuresSQL is true once something was erased.
const hasErasuresSQL = `EXISTS (SELECT FROM erasures)`

// keySQL is the key of the tombstones; LIMIT tells the planner that there is one.
const keySQL = `(SELECT key FROM erasure_key LIMIT 1) AS erasure_key`

const erasedAmongSQL = `
SELECT unnest(erased_among($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[]))
WHERE ` + hasErasuresSQL

// markKnown notes why rows were not inserted: they are erased, or their keys
// were there already.
func (w *Writer) markKnown(ctx context.Context, rows []entry) error {
	if len(rows) == 0 {
		return nil
	}
	erased, err := w.db.erasedAmong(ctx, rows)
	if err != nil {
		return unavailable(fmt.Errorf("look for erased rows: %w", err))
	}
	for _, e := range rows {
		if slices.Contains(erased, e.response().MessageID) {
			e.job.results[e.item] = Erased
			w.metrics.erased.Inc()
		} else {
			e.job.results[e.item] = Duplicate
			w.saw(e.response().FlowID)
		}
	}
	return nil
}

// erasedAmong returns the keys of those rows that a tombstone covers.
func (db *DB) erasedAmong(ctx context.Context, rows []entry) ([]string, error) {
	n := len(rows)
	messageID, waID, userID := make([]string, n), make([]string, n), make([]string, n)
	sentAt, receivedAt := make([]*time.Time, n), make([]time.Time, n)
	for i, e := range rows {
		r := e.response()
		messageID[i], waID[i], userID[i] = r.MessageID, r.WaID, r.UserID
		sentAt[i], receivedAt[i] = unlessZero(r.SentAt), e.job.delivery.ReceivedAt
	}
	return collect[string](ctx, db, erasedAmongSQL, messageID, waID, userID, sentAt, receivedAt)
}

// collect returns the values that a statement selects. The statement must bear
// to be repeated.
func collect[T any](ctx context.Context, db *DB, sql string, args ...any) (list []T, err error) {
	err = db.twice(ctx, func(conn *pgx.Conn) error {
		rows, _ := conn.Query(ctx, sql, args...) // CollectRows returns the error
		list, err = pgx.CollectRows(rows, pgx.RowTo[T])
		return err
	})
	return list, err
}
