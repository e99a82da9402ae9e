package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

const (
	retentionInterval = 5 * time.Minute // from one round to the next
	retentionRows     = 1000            // of one transaction
	retentionRest     = 4               // so many times as long as it worked, it rests
)

// Retention deletes what is older than it may be kept: responses by stored_at,
// quarantine by received_at. Of several on one database, one works at a time.
type Retention struct {
	db      *DB
	keep    time.Duration // 0: for ever, unless flow_catalog says otherwise of a flow
	log     zerolog.Logger
	deleted *prometheus.CounterVec // by table
}

// NewRetention prepares a Retention. keep is how long things are kept, 0 for
// ever. What flow_catalog.retention says of a flow wins over it.
func NewRetention(db *DB, keep time.Duration, log zerolog.Logger) *Retention {
	return &Retention{db: db, keep: keep, log: log, deleted: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "flowkeep_retention_deleted_total",
		Help: "Rows that were deleted because they were older than they may be kept, by table.",
	}, []string{"table"})}
}

// Collectors returns its metrics, for registration.
func (r *Retention) Collectors() []prometheus.Collector { return []prometheus.Collector{r.deleted} }

// Run deletes, round after round, until ctx ends. What fails is logged, and
// tried again in the next round.
func (r *Retention) Run(ctx context.Context) {
	for ctx.Err() == nil {
		responses, quarantined, err := r.Round(ctx)
		if responses+quarantined > 0 {
			r.log.Info().Int64("responses", responses).Int64("quarantined", quarantined).
				Msg("deleted what was older than it may be kept")
		}
		if err != nil && ctx.Err() == nil {
			describe(r.log.Warn(), err).Msg("cannot delete what is older than it may be kept: trying again later")
		}
		rest(ctx, retentionInterval)
	}
}

// Round deletes once all that may be kept no longer, and returns how much that
// was. If another replica is at it, there is less, or nothing, left to do.
func (r *Retention) Round(ctx context.Context) (responses, quarantined int64, err error) {
	overdue, err := r.overdue(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("find what may be kept no longer: %w", unavailable(err))
	}
	for _, o := range overdue {
		sql, args := oldUnlinkedSQL, []any{o.keep, retentionRows}
		if o.flowID != nil {
			sql, args = oldAnswersSQL, append(args, *o.flowID)
		}
		n, err := r.deleteAll(ctx, "flow_responses", sql, args...)
		responses += n
		if err != nil {
			return responses, 0, err
		}
	}
	if r.keep > 0 {
		quarantined, err = r.deleteAll(ctx, "quarantine", oldQuarantineSQL, r.keep, retentionRows)
	}
	return responses, quarantined, err
}

// overdueSQL hops from one flow to the next in the index, so that it costs as
// much as there are flows, and returns those whose oldest answer is too old. A
// null flow stands for the answers of no known flow.
const overdueSQL = `
WITH RECURSIVE oldest AS (
	(SELECT flow_id, stored_at FROM flow_responses WHERE flow_id IS NOT NULL ORDER BY flow_id DESC, stored_at LIMIT 1)
	UNION ALL
	SELECT next.flow_id, next.stored_at
	FROM oldest, LATERAL (
		SELECT flow_id, stored_at FROM flow_responses WHERE flow_id < oldest.flow_id ORDER BY flow_id DESC, stored_at LIMIT 1
	) AS next
), kept AS (
	SELECT flow_id, stored_at, nullif(coalesce(retention, $1::interval), interval '0') AS keep
	FROM oldest LEFT JOIN flow_catalog ON id = flow_id
	UNION ALL
	SELECT NULL, (SELECT min(stored_at) FROM flow_responses WHERE flow_id IS NULL), nullif($1, interval '0')
)
SELECT flow_id, keep FROM kept WHERE stored_at < clock_timestamp() - keep`

// overdue is a flow with answers that are too old.
type overdue struct {
	flowID *string // nil: no known flow
	keep   time.Duration
}

func (r *Retention) overdue(ctx context.Context) (list []overdue, err error) {
	err = r.db.twice(ctx, func(conn *pgx.Conn) error {
		rows, _ := conn.Query(ctx, overdueSQL, r.keep) // CollectRows returns the error
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (o overdue, err error) {
			return o, row.Scan(&o.flowID, &o.keep)
		})
		return err
	})
	return list, err
}

// The rows are locked as they are found, and those that somebody else has are
// left for the next time: nobody waits for a row, and nobody waits in a circle.
const (
	oldAnswersSQL = `
DELETE FROM flow_responses WHERE message_id = ANY(ARRAY(
	SELECT message_id FROM flow_responses WHERE flow_id = $3 AND stored_at < clock_timestamp() - $1::interval
	ORDER BY stored_at LIMIT $2 FOR UPDATE SKIP LOCKED))`

	oldUnlinkedSQL = `
DELETE FROM flow_responses WHERE message_id = ANY(ARRAY(
	SELECT message_id FROM flow_responses WHERE flow_id IS NULL AND stored_at < clock_timestamp() - $1::interval
	ORDER BY stored_at LIMIT $2 FOR UPDATE SKIP LOCKED))`

	oldQuarantineSQL = `
DELETE FROM quarantine WHERE id = ANY(ARRAY(
	SELECT id FROM quarantine WHERE received_at < clock_timestamp() - $1::interval
	ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED))`
)

// deleteAll deletes batch after batch, and leaves the database to the writers
// in between. It ends early when another replica is at work.
func (r *Retention) deleteAll(ctx context.Context, table, sql string, args ...any) (deleted int64, err error) {
	for n := int64(retentionRows); n == retentionRows && ctx.Err() == nil; {
		start := time.Now()
		if n, err = r.deleteBatch(ctx, sql, args); err != nil {
			return deleted, fmt.Errorf("delete from %s: %w", table, unavailable(err))
		}
		deleted += n
		r.deleted.WithLabelValues(table).Add(float64(n))
		if n == retentionRows {
			rest(ctx, retentionRest*time.Since(start))
		}
	}
	return deleted, nil
}

// retentionLock is held by the replica that deletes, for one transaction, which
// works through a pooler too.
const retentionLock int64 = 0x666f72676574 // "forget"

func (r *Retention) deleteBatch(ctx context.Context, sql string, args []any) (deleted int64, err error) {
	err = pgx.BeginFunc(ctx, r.db.pool, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", retentionLock).Scan(&mine); err != nil || !mine {
			return err
		}
		tag, err := tx.Exec(ctx, sql, args...)
		deleted = tag.RowsAffected()
		return err
	})
	return deleted, err
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
