package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"flowkeep/internal/flowparse"
)

// Replayed is what became of a record that was tried again.
type Replayed struct {
	SettledAs string // stored, duplicate, ignored or erased; empty: it stays
	Reason    string // why it stays
	Detail    string
}

// Replay reads a record that waits in quarantine with p, as if it were
// delivered now, and settles it once everything in it is safe. What fails again
// stays, with the reason of today. A crash in between loses nothing: what is
// stored and not settled is a duplicate the next time. The error is ErrNoRecord
// if no such record waits; any other means that it waits on.
//
// A record that holds something erased is deleted instead of settled.
//
// An item of a body with several that still cannot be read becomes a record of
// its own, so that it does not hold up its neighbours.
func (w *Writer) Replay(ctx context.Context, p *flowparse.Parser, id int64) (Replayed, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*batchTimeout)
	defer cancel()
	record, err := w.db.QuarantineRecord(ctx, id)
	if err != nil {
		return Replayed{}, err
	}
	if record.SettledAt != nil {
		return Replayed{}, fmt.Errorf("%w: %d was settled before", ErrNoRecord, id)
	}
	d := p.Parse(flowparse.Input{
		Body: record.Body, Event: record.Headers[eventHeader], IdempotencyKey: record.Headers[keyHeader],
		ReceivedAt: record.ReceivedAt,
	})
	if record.Source == string(flowparse.SourceBackfill) { // which no body tells
		d.Source = flowparse.SourceBackfill
	}
	if len(d.Responses) == 0 && len(d.Rejects) > 0 {
		return w.stays(ctx, id, string(d.Rejects[0].Reason), d.Rejects[0].Detail)
	}
	results, err := w.Put(ctx, &d)
	if err != nil {
		return Replayed{}, fmt.Errorf("replay: %w", err)
	}
	as := SettledIgnored
	switch {
	case slices.Contains(results, TurnedAway), refusedWhole(&d, results, record.Body):
		return w.refused(ctx, id)
	case slices.Contains(results, Erased):
		return w.dropErased(ctx, id)
	case slices.Contains(results, Stored):
		as = SettledStored
	case slices.Contains(results, Duplicate):
		as = SettledDuplicate
	case slices.Contains(results, Quarantined): // each is a record of its own now, and this one holds them together
		return w.stays(ctx, id, string(ReasonRejectedByDatabase), "its items are records of their own")
	}
	settled, err := w.db.SettleQuarantine(ctx, []int64{id}, as)
	if err != nil {
		return Replayed{}, err
	}
	if len(settled) == 0 {
		return Replayed{}, fmt.Errorf("%w: %d was settled meanwhile", ErrNoRecord, id)
	}
	return Replayed{SettledAs: as}, nil
}

// refusedWhole tells whether an item that went to quarantine is the body itself
// and so the same record, which the writer gave today's reason.
func refusedWhole(d *flowparse.Delivery, results []Result, body []byte) bool {
	for i, r := range results[:len(d.Responses)+len(d.Rejects)] {
		var item []byte
		if i < len(d.Responses) {
			item = d.Responses[i].Envelope()
		} else {
			item = d.Rejects[i-len(d.Responses)].Body
		}
		if r == Quarantined && bytes.Equal(item, body) {
			return true
		}
	}
	return false
}

// refused returns the reason that the record has.
func (w *Writer) refused(ctx context.Context, id int64) (Replayed, error) {
	record, err := w.db.QuarantineRecord(ctx, id)
	return Replayed{Reason: record.Reason, Detail: record.Detail}, err
}

const dropErasedSQL = `DELETE FROM quarantine WHERE id = $1`

// dropErased deletes a record that holds what is erased. The rest of it is safe.
func (w *Writer) dropErased(ctx context.Context, id int64) (Replayed, error) {
	if _, err := w.db.pool.Exec(ctx, dropErasedSQL, id); err != nil {
		return Replayed{}, fmt.Errorf("delete an erased record: %w", err)
	}
	return Replayed{SettledAs: DroppedErased}, nil
}

const explainQuarantineSQL = `
UPDATE quarantine SET reason = $2, detail = $3
WHERE id = $1 AND settled_at IS NULL AND (reason, detail) IS DISTINCT FROM ($2, $3)`

// stays notes why a record still fails.
func (w *Writer) stays(ctx context.Context, id int64, reason, detail string) (Replayed, error) {
	if _, err := w.db.pool.Exec(ctx, explainQuarantineSQL, id, reason, detail); err != nil {
		return Replayed{}, fmt.Errorf("note why a record stays: %w", err)
	}
	return Replayed{Reason: reason, Detail: detail}, nil
}
