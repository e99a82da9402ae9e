package sends

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Funnel is how far the registered sends of one flow got, over all days: what
// the view flow_funnel tells of each.
type Funnel struct {
	FlowID    string
	Sent      int64 // went out, further ones included; an answer proves that it did, and was read
	Delivered int64
	Read      int64
	Answered  int64
	Median    *time.Duration // from the send to its first answer; nil without answers, or none that is later
}

// funnelSQL counts as the view flow_funnel does. It is not made of that view,
// since the median of medians is none.
const funnelSQL = `
SELECT s.flow_id, count(*) FILTER (WHERE s.status IN ('sent', 'delivered', 'read') OR answer.first_at IS NOT NULL),
	count(*) FILTER (WHERE s.status IN ('delivered', 'read') OR answer.first_at IS NOT NULL),
	count(*) FILTER (WHERE s.status = 'read' OR answer.first_at IS NOT NULL), count(answer.first_at),
	(percentile_cont(0.5) WITHIN GROUP (ORDER BY greatest(extract(epoch FROM answer.first_at - s.sent_at), 0))
		FILTER (WHERE answer.first_at >= s.sent_at - interval '1 second'))::float8
FROM flow_sends AS s
LEFT JOIN (
	SELECT send_id, min(coalesce(sent_at, received_at)) AS first_at FROM flow_answers WHERE send_id IS NOT NULL GROUP BY send_id
) AS answer ON answer.send_id = s.id
GROUP BY s.flow_id ORDER BY s.flow_id`

// Funnels returns the funnel of each flow that has sends, by flow id.
func (r *Register) Funnels(ctx context.Context) ([]Funnel, error) {
	rows, _ := r.pool.Query(ctx, funnelSQL) // CollectRows returns the error
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f Funnel, err error) {
		var seconds *float64
		err = row.Scan(&f.FlowID, &f.Sent, &f.Delivered, &f.Read, &f.Answered, &seconds)
		if seconds != nil {
			median := time.Duration(*seconds * float64(time.Second)).Round(time.Second)
			f.Median = &median
		}
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("count sends: %w", hush(err))
	}
	return list, nil
}

// Linked is how many answers one source linked to their flow.
type Linked struct {
	Source  string // flow_responses.flow_id_source; "nothing" for answers with no known flow
	Answers int64
}

const linkedSQL = `
SELECT coalesce(flow_id_source, 'nothing'), count(*) FROM flow_responses
WHERE left(context_message_id, 200) COLLATE "C" IN (SELECT left(wamid, 200) FROM unnest($1::text[]) AS wamid)
	AND context_message_id = ANY($1::text[])
GROUP BY 1 ORDER BY 2 DESC, 1`

// Linked counts the answers to the messages wamids by what told their flow, most
// first.
func (r *Register) Linked(ctx context.Context, wamids []string) ([]Linked, error) {
	rows, _ := r.pool.Query(ctx, linkedSQL, wamids) // CollectRows returns the error
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Linked])
	if err != nil {
		return nil, fmt.Errorf("count linked answers: %w", hush(err))
	}
	return list, nil
}
