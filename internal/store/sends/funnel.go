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
