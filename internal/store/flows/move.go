package flows

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Moved is a response whose flow became another, or known, after it was stored.
type Moved struct {
	MessageID string
	From      string // flow id; empty if none was known
	To        string
}

// Move runs do, which moves responses from one flow to another, in one
// transaction with what the catalog has to learn of it, and wakes the Keeper.
// It fails with ErrBusy, or an error of lock_timeout, if somebody is in the
// way; then nothing was done. A crash may take a Move back whole that succeeded.
func (k *Keeper) Move(ctx context.Context, do func(pgx.Tx) ([]Moved, error)) error {
	var moved []Moved
	err := k.once(ctx, func(tx pgx.Tx) (err error) {
		if moved, err = do(tx); err != nil {
			return err
		}
		return takeMoved(ctx, tx, moved)
	})
	if err != nil {
		return err
	}
	for _, m := range moved {
		if m.From != m.To {
			k.Saw(m.From)
			k.Saw(m.To)
		}
	}
	return nil
}

// takeMoved brings the catalog to where it would be had the responses been in
// their new flow from the beginning. The flow that loses some starts anew, since
// nothing tells what it would be without them; so does one that gets a response
// which would have changed the order of its columns.
func takeMoved(ctx context.Context, tx pgx.Tx, moved []Moved) error {
	lost, got := map[string]bool{}, map[string][]string{}
	for _, m := range moved {
		if m.From == m.To {
			continue
		}
		if m.From != "" {
			lost[m.From] = true
		}
		got[m.To] = append(got[m.To], m.MessageID)
	}
	for id := range lost {
		f, err := loadFlow(ctx, tx, id)
		if err == nil && f.known {
			err = f.restart(ctx, tx)
		}
		if err != nil {
			return err
		}
	}
	for id, responses := range got {
		f, err := loadFlow(ctx, tx, id)
		if err == nil && f.known {
			err = f.takeLate(ctx, tx, responses)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const lateRowsSQL = `
SELECT message_id, stored_at, received_at, response FROM flow_responses
WHERE message_id = ANY($1::text[]) AND (stored_at, message_id) <= ($2::timestamptz, $3)
ORDER BY stored_at, message_id`

// takeLate takes responses into account that are new in the flow, as far as the
// mark has passed them: readNew comes to the others.
func (f *flow) takeLate(ctx context.Context, tx pgx.Tx, responses []string) error {
	fit, late := true, 0
	rows, _ := tx.Query(ctx, lateRowsSQL, responses, f.readUntil, f.readID) // ForEachRow returns the error
	var r row
	var response []byte
	_, err := pgx.ForEachRow(rows, []any{&r.messageID, &r.storedAt, &r.receivedAt, &response}, func() error {
		r.answers, r.more, r.list = readAnswers(response)
		if fit = fit && f.fits(&r); fit {
			f.count(&r)
		}
		late++
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("read the responses that moved: %w", err)
	case !fit:
		return f.restart(ctx, tx)
	case late == 0:
		return nil
	}
	return f.save(ctx, tx)
}
