package read

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/store"
)

// MaxFlows is the most that Flows returns at once.
const MaxFlows = 500

// flowsSQL makes the objects from the catalog alone, so that it costs as much as
// there are flows, not responses.
const flowsSQL = `
SELECT id, json_build_object(
	'id', id,
	'name', name,
	'view', CASE WHEN to_regclass('flows.' || quote_ident(view)) IS NOT NULL THEN view END,
	'answers', answers,
	'columns', (
		SELECT coalesce(json_agg(json_build_object('key', k.key, 'name', k.name, 'type', k.type, 'filled',
			coalesce((s.value ->> 'filled')::float8, 0) / greatest(answers, 1)) ORDER BY k.n), '[]')
		FROM unnest(keys, columns, types) WITH ORDINALITY AS k (key, name, type, n)
		LEFT JOIN jsonb_array_elements(state -> 'keys') AS s ON s.value ->> 'key' = k.key
	)
)::text
FROM flow_catalog
WHERE id > $1
ORDER BY id
LIMIT $2`

// Flows returns the JSON objects of the flows behind the id after, by id, and
// the id to go on after; empty if these are the last. An error is of
// store.Unavailable.
func (r *Reader) Flows(ctx context.Context, after string) (list [][]byte, next string, err error) {
	tx, err := r.begin(ctx, pageTimeout)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing to undo
	rows, _ := tx.Query(ctx, flowsSQL, after, MaxFlows+1)
	var id, last string
	var object []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &object}, func() error {
		if len(list) == MaxFlows {
			next = last
			return nil
		}
		list, last = append(list, append([]byte{}, object...)), id
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("read the flows: %w", store.Unavailable(err))
	}
	return list, next, nil
}
