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
// sends by sent_at, quarantine by received_at. Of several on one database, one works at a time.
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
		done, err := r.Round(ctx)
		if done != (Deleted{}) {
			r.log.Info().Int64("responses", done.Responses).Int64("quarantined", done.Quarantined).Int64("sends", done.Sends).
				Msg("deleted what was older than it may be kept")
		}
		if err != nil && ctx.Err() == nil {
			describe(r.log.Warn(), err).Msg("cannot delete what is older than it may be kept: trying again later")
		}
		rest(ctx, retentionInterval)
	}
}

// Deleted counts the rows that a round deleted.
type Deleted struct{ Responses, Sends, Quarantined int64 }

// Round deletes once all that may be kept no longer, and returns how much that
// was. If another replica is at it, there is less, or nothing, left to do.
func (r *Retention) Round(ctx context.Context) (done Deleted, err error) {
	if done.Responses, err = r.deleteOverdue(ctx, "flow_responses", overdueAnswersSQL, oldAnswersSQL); err != nil {
		return done, err
	}
	if done.Sends, err = r.deleteOverdue(ctx, "flow_sends", overdueSendsSQL, oldSendsSQL); err != nil {
		return done, err
	}
	if r.keep > 0 {
		done.Quarantined, err = r.deleteAll(ctx, "quarantine", oldQuarantineSQL, r.keep, retentionRows)
	}
	return done, err
}

// deleteOverdue deletes what is too old of each flow in a table.
func (r *Retention) deleteOverdue(ctx context.Context, table, overdueSQL, oldSQL string) (deleted int64, err error) {
	overdue, err := r.overdue(ctx, overdueSQL)
	if err != nil {
		return 0, fmt.Errorf("find what may be kept no longer in %s: %w", table, unavailable(err))
	}
	for _, o := range overdue {
		sql, args := oldUnlinkedSQL, []any{o.keep, retentionRows}
		if o.flowID != nil {
			sql, args = oldSQL, append(args, *o.flowID)
		}
		n, err := r.deleteAll(ctx, table, sql, args...)
		deleted += n
		if err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// The flows with something that is too old. The statements hop from one flow to
// the next in the index, so that they cost as much as there are flows. A null
// flow stands for the answers of no known flow.
const (
	overdueAnswersSQL = `
WITH RECURSIVE oldest AS (
	(SELECT flow_id, stored_at AS since FROM flow_responses WHERE flow_id IS NOT NULL ORDER BY flow_id DESC, stored_at LIMIT 1)
	UNION ALL
	SELECT next.flow_id, next.stored_at
	FROM oldest, LATERAL (
		SELECT flow_id, stored_at FROM flow_responses WHERE flow_id < oldest.flow_id ORDER BY flow_id DESC, stored_at LIMIT 1
	) AS next
), unlinked AS (
	SELECT NULL AS flow_id, min(stored_at) AS since FROM flow_responses WHERE flow_id IS NULL
), oldest_of_all AS (
	SELECT * FROM oldest UNION ALL SELECT * FROM unlinked
)
SELECT flow_id, keep FROM oldest_of_all` + tooOldSQL

	overdueSendsSQL = `
WITH RECURSIVE oldest AS (
	(SELECT flow_id, sent_at AS since FROM flow_sends ORDER BY flow_id DESC, sent_at LIMIT 1)
	UNION ALL
	SELECT next.flow_id, next.sent_at
	FROM oldest, LATERAL (
		SELECT flow_id, sent_at FROM flow_sends WHERE flow_id < oldest.flow_id ORDER BY flow_id DESC, sent_at LIMIT 1
	) AS next
)
SELECT flow_id, keep FROM oldest` + tooOldSQL

	tooOldSQL = `
LEFT JOIN flow_catalog ON id = flow_id
CROSS JOIN LATERAL (SELECT nullif(coalesce(retention, $1::interval), interval '0') AS keep) AS kept
WHERE since < clock_timestamp() - keep`
)

// overdue is a flow with rows that are too old.
type overdue struct {
	flowID *string // nil: no known flow
	keep   time.Duration
}

func (r *Retention) overdue(ctx context.Context, sql string) (list []overdue, err error) {
	err = r.db.twice(ctx, func(conn *pgx.Conn) error {
		rows, _ := conn.Query(ctx, sql, r.keep) // CollectRows returns the error
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

	oldSendsSQL = `
DELETE FROM flow_sends WHERE id = ANY(ARRAY(
	SELECT id FROM flow_sends WHERE flow_id = $3 AND sent_at < clock_timestamp() - $1::interval
	ORDER BY sent_at LIMIT $2 FOR UPDATE SKIP LOCKED))`

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
