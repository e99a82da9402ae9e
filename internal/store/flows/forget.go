package flows

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// forgetGoneSQL lets go of the mark's message id, which holds a phone number,
// once its row was deleted. The time that stays beside it is mark enough: no
// two rows are expected at one microsecond.
const forgetGoneSQL = `
UPDATE flow_catalog SET read_id = ''
WHERE read_id <> '' AND NOT EXISTS (SELECT FROM flow_responses WHERE message_id = read_id)`

// ForgetGone takes the ids of messages that were deleted out of the catalog.
func (k *Keeper) ForgetGone(ctx context.Context) error {
	return k.command(ctx, func(tx pgx.Tx) error { return forgetGone(ctx, tx) })
}

func forgetGone(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, forgetGoneSQL); err != nil {
		return fmt.Errorf("forget deleted messages: %w", err)
	}
	return nil
}
