package flows

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const viewTakenSQL = `SELECT $1 = 'unlinked' OR EXISTS (SELECT FROM flow_catalog WHERE view = $1)`

const viewCountSQL = `SELECT count(*) FROM flow_catalog WHERE view IS NOT NULL`

// chooseView names the flow's view. The name stays empty if there are too many
// already, unless a person has given one.
func (f *flow) chooseView(ctx context.Context, tx pgx.Tx) error {
	if f.name != "" {
		f.view = f.name
		return nil
	}
	var views int
	if err := tx.QueryRow(ctx, viewCountSQL).Scan(&views); err != nil {
		return fmt.Errorf("count the views: %w", err)
	}
	if views >= maxViews {
		return nil
	}
	var failure error
	f.view = uniqueName("flow_"+f.id, func(name string) bool {
		var taken bool
		if err := tx.QueryRow(ctx, viewTakenSQL, name).Scan(&taken); err != nil {
			failure = fmt.Errorf("look for the name of a view: %w", err)
		}
		return taken
	})
	return failure
}

// unlinkedSQL adds to flows.unlinked the flows that have no view.
const unlinkedSQL = `
CREATE OR REPLACE VIEW flows.unlinked AS
SELECT message_id, wa_id, contact_name, flow_token, sent_at, received_at, stored_at, token_kind, flow_id, response
FROM flow_responses
WHERE flow_id IS NULL
UNION ALL
SELECT r.message_id, r.wa_id, r.contact_name, r.flow_token, r.sent_at, r.received_at, r.stored_at, r.token_kind, r.flow_id, r.response
FROM flow_catalog c
JOIN flow_responses r ON r.flow_id = c.id
WHERE c.view IS NULL`

// leaveUnlinked sees to it that the answers of flows without a view are in
// flows.unlinked.
func (k *Keeper) leaveUnlinked(ctx context.Context, tx pgx.Tx) error {
	if k.full {
		return nil
	}
	if _, err := tx.Exec(ctx, unlinkedSQL); err != nil {
		return fmt.Errorf("add flows to flows.unlinked: %w", err)
	}
	k.full = true
	k.log.Warn().Int("views", maxViews).
		Msg(`there are too many flows: further ones get no view, their answers are in flows.unlinked; "flowkeep flows name" makes one`)
	return nil
}
