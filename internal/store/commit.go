package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/flowparse"
)

// insertResponsesSQL stores new rows and returns their keys. The conflict
// clause changes nothing, but locks the old row, so that a duplicate is
// reported only once the first copy is as durable as a new row would be
// (postgres-at-scale.md, section a). It needs each key once.
const insertResponsesSQL = `
INSERT INTO flow_responses (
	message_id, flow_token, token_kind, flow_id, flow_id_source, flow_name,
	response, response_status, phone_number_id, wa_id, user_id, contact_name,
	conversation_id, context_message_id, source, idempotency_key, raw, sent_at, received_at)
SELECT * FROM unnest(
	$1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
	$7::jsonb[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
	$13::text[], $14::text[], $15::text[], $16::text[], $17::bytea[], $18::timestamptz[], $19::timestamptz[])
ON CONFLICT (message_id) DO UPDATE SET message_id = EXCLUDED.message_id WHERE false
RETURNING message_id`

// commit makes a batch durable and notes each entry's result. An error means
// that those still Unknown are not known to be committed. It runs on a context
// of its own: a client that hangs up does not undo its neighbours.
func (w *Writer) commit(batch []entry) error {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()

	var rows []entry
	var bad []suspect
	for _, e := range batch {
		if e.response() != nil {
			rows = append(rows, e)
		} else {
			bad = append(bad, suspect{entry: e, Reject: *e.reject()})
		}
	}
	// Sorted, so that writers everywhere lock shared keys in one order; stable,
	// so that the first to arrive is the one that is kept.
	slices.SortStableFunc(rows, func(a, b entry) int {
		return cmp.Compare(a.response().MessageID, b.response().MessageID)
	})
	poison, err := w.storeRows(ctx, rows)
	bad = append(bad, poison...)
	if len(bad) > 0 {
		err = errors.Join(err, w.storeSuspects(ctx, bad))
	}
	if err != nil {
		w.note(err)
	}
	return err
}

// storeRows commits sorted rows. Rows of one key are folded: the first is
// stored, the others are its duplicates, unless the database refuses it.
func (w *Writer) storeRows(ctx context.Context, rows []entry) (poison []suspect, err error) {
	for len(rows) > 0 && err == nil {
		var first, again []entry
		for i, e := range rows {
			if i > 0 && e.response().MessageID == rows[i-1].response().MessageID {
				again = append(again, e)
			} else {
				first = append(first, e)
			}
		}
		var refused []suspect
		refused, err = w.storeDistinct(ctx, first)
		poison = append(poison, refused...)
		rows = settleDoubles(first, again)
	}
	return poison, err
}

// settleDoubles marks the doubles of rows that are in the table, and returns
// those whose first was refused: they may be better.
func settleDoubles(first, again []entry) (left []entry) {
	for _, e := range again {
		i, _ := slices.BinarySearchFunc(first, e.response().MessageID, func(f entry, id string) int {
			return cmp.Compare(f.response().MessageID, id)
		})
		if r := first[i].job.results[first[i].item]; r == Stored || r == Duplicate {
			e.job.results[e.item] = Duplicate
		} else {
			left = append(left, e)
		}
	}
	return left
}

// storeDistinct commits rows whose keys are sorted and distinct. If rows are
// to blame for a failure it halves them until it has found which, and returns
// those; their neighbours are committed.
func (w *Writer) storeDistinct(ctx context.Context, rows []entry) ([]suspect, error) {
	stored, err := w.insertRows(ctx, rows)
	switch {
	case err == nil:
		markStored(rows, stored)
		return nil, nil
	case !isRowFault(err):
		return nil, unavailable(err)
	case len(rows) == 1:
		r := rows[0].response()
		return []suspect{{entry: rows[0], Reject: flowparse.Reject{
			Reason: ReasonRejectedByDatabase, Detail: "SQLSTATE " + sqlState(err), Body: r.Envelope(),
		}}}, nil
	}
	half := len(rows) / 2
	left, errLeft := w.storeDistinct(ctx, rows[:half])
	right, errRight := w.storeDistinct(ctx, rows[half:])
	return append(left, right...), errors.Join(errLeft, errRight)
}

// markStored notes the result of every row: stored holds the new keys.
func markStored(rows []entry, stored []string) {
	slices.Sort(stored) // RETURNING promises no order
	for _, e := range rows {
		result := Duplicate
		if _, isNew := slices.BinarySearch(stored, e.response().MessageID); isNew {
			result = Stored
		}
		e.job.results[e.item] = result
	}
}

// insertRows sends one statement, once more if a session turned out to be dead
// or lost a race: the statement may be repeated at will.
func (w *Writer) insertRows(ctx context.Context, rows []entry) (stored []string, err error) {
	args := responseColumns(rows)
	err = w.db.twice(ctx, func(conn *pgx.Conn) error {
		found, err := conn.Query(ctx, insertResponsesSQL, args...)
		if err != nil {
			return err
		}
		stored, err = pgx.CollectRows(found, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("insert batch: %w", err)
	}
	return stored, nil
}

// note logs why a batch is not known to be committed.
func (w *Writer) note(err error) {
	if isExpected(err) {
		describe(w.log.Warn(), err).Msg("database unavailable")
		return
	}
	describe(w.log.Error(), err).Msg("database refuses for a reason that flowkeep does not know; treated as unavailable")
}
