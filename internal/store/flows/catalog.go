package flows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const loadFlowSQL = `
SELECT coalesce(name, ''), coalesce(view, ''), state, answers, first_seen, last_seen, read_until, read_id,
	view IS NOT NULL AND to_regclass('flows.' || quote_ident(view)) IS NOT NULL
FROM flow_catalog WHERE id = $1`

// loadFlow reads a flow from the catalog. One that is not there is as new.
func loadFlow(ctx context.Context, tx pgx.Tx, id string) (*flow, error) {
	f := &flow{id: id}
	f.forget(false)
	var state []byte
	err := tx.QueryRow(ctx, loadFlowSQL, id).
		Scan(&f.name, &f.view, &state, &f.answers, &f.firstSeen, &f.lastSeen, &f.readUntil, &f.readID, &f.hasView)
	if errors.Is(err, pgx.ErrNoRows) {
		return f, nil
	}
	f.known = true
	if err == nil {
		err = json.Unmarshal(state, &f.state)
	}
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return f, nil
}

const saveFlowSQL = `
INSERT INTO flow_catalog (id, name, view, keys, columns, types, misfits, state, answers, first_seen, last_seen, read_until, read_id)
VALUES ($1, nullif($2::text, ''), nullif($3::text, ''), $4::text[], $5::text[], $6::text[], $7::bigint[], $8::jsonb,
	$9::bigint, $10::timestamptz, $11::timestamptz, $12::timestamptz, $13)
ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, view = EXCLUDED.view, keys = EXCLUDED.keys, columns = EXCLUDED.columns,
	types = EXCLUDED.types, misfits = EXCLUDED.misfits, state = EXCLUDED.state, answers = EXCLUDED.answers,
	first_seen = EXCLUDED.first_seen, last_seen = EXCLUDED.last_seen, read_until = EXCLUDED.read_until, read_id = EXCLUDED.read_id`

// save writes the flow to the catalog.
func (f *flow) save(ctx context.Context, tx pgx.Tx) error {
	keys, columns, types, misfits := []string{}, []string{}, []string{}, []int64{}
	for _, k := range f.state.Keys {
		if k.Type != "" {
			keys, columns = append(keys, k.Key), append(columns, k.Column)
			types, misfits = append(types, k.Type), append(misfits, k.Misfits)
		}
	}
	state, err := json.Marshal(f.state)
	if err == nil {
		_, err = tx.Exec(ctx, saveFlowSQL, f.id, f.name, f.view, keys, columns, types, misfits, string(state),
			f.answers, f.firstSeen, f.lastSeen, f.readUntil, f.readID)
	}
	if err != nil {
		return fmt.Errorf("write the catalog: %w", err)
	}
	return nil
}

// flowIDsSQL hops from one flow to the next in the index, so that it costs as
// much as there are flows, not answers.
const flowIDsSQL = `
WITH RECURSIVE hop AS (
	(SELECT flow_id, stored_at FROM flow_responses WHERE flow_id IS NOT NULL ORDER BY flow_id, stored_at DESC LIMIT 1)
	UNION ALL
	SELECT next.flow_id, next.stored_at
	FROM hop, LATERAL (
		SELECT flow_id, stored_at FROM flow_responses WHERE flow_id > hop.flow_id ORDER BY flow_id, stored_at DESC LIMIT 1
	) AS next
)
`

// behindSQL finds the flows whose newest answer was not looked at, those whose
// view is gone, and those where some key waits for another type.
const behindSQL = flowIDsSQL + `
SELECT hop.flow_id FROM hop LEFT JOIN flow_catalog c ON c.id = hop.flow_id
WHERE c.id IS NULL OR hop.stored_at > c.read_until
UNION
SELECT id FROM flow_catalog
WHERE (view IS NOT NULL AND to_regclass('flows.' || quote_ident(view)) IS NULL) OR EXISTS (SELECT FROM unnest(misfits) AS m WHERE m > 0)`

// allFlowsSQL finds every flow that has answers or is in the catalog.
const allFlowsSQL = flowIDsSQL + `
SELECT flow_id FROM hop UNION SELECT id FROM flow_catalog ORDER BY 1`
