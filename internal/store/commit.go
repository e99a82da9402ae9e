package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"flowkeep/internal/flowparse"
)

// commit makes a batch durable and notes each entry's result. An error means
// that those still Unknown are not known to be committed. It runs on a context
// of its own: a client that hangs up does not undo its neighbours.
func (w *Writer) commit(batch []entry) error {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	start := time.Now()
	defer func() { w.metrics.commitSeconds.Observe(time.Since(start).Seconds()) }()
	w.metrics.batchRows.Observe(float64(len(batch)))

	var rows, events []entry
	var bad []suspect
	for _, e := range batch {
		if e.response() != nil {
			rows = append(rows, e)
		} else if r := e.reject(); r != nil {
			bad = append(bad, suspect{entry: e, Reject: *r})
		} else {
			events = append(events, e)
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
	if len(events) > 0 {
		err = errors.Join(err, w.storeStatuses(ctx, events))
	}
	if err != nil {
		w.metrics.failures.Inc()
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
	stored, err := w.db.insertRows(ctx, rows)
	switch {
	case err == nil:
		return nil, w.markKnown(ctx, w.markStored(rows, stored))
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

// markStored notes the rows that are new, which stored holds by key, tells of
// their flows, and returns the others.
func (w *Writer) markStored(rows []entry, stored []storedRow) (known []entry) {
	for _, e := range rows {
		i, isNew := slices.BinarySearchFunc(stored, e.response().MessageID, func(s storedRow, id string) int {
			return cmp.Compare(s.messageID, id)
		})
		if isNew {
			e.job.results[e.item] = Stored
			w.saw(stored[i].flowID)
		} else {
			known = append(known, e)
		}
	}
	return known
}

// note logs why a batch is not known to be committed.
func (w *Writer) note(err error) {
	if isExpected(err) {
		describe(w.log.Warn(), err).Msg("database unavailable")
		return
	}
	describe(w.log.Error(), err).Msg("database refuses for a reason that flowkeep does not know; treated as unavailable")
}

// suspect is an item for quarantine, and the entry whose fate it is.
type suspect struct {
	entry
	flowparse.Reject
}
