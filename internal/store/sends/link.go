package sends

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"

	"flowkeep/internal/store/flows"
)

// Answers that came before their send was registered are looked for soon after,
// and once more when no insert can be under way any more that began before the
// send was to be seen: the writer gives up on a batch after 4 s.
const (
	linkEvery     = 2 * time.Second
	maxLinkWait   = 30 * time.Second
	seekAgainTime = 15 * time.Second
	linkSends     = 500  // looked at in one transaction
	linkAnswers   = 1000 // moved by one statement
)

// Link links answers to sends that were registered after them, whoever
// registered them, until ctx ends. Of several servers on one database one works
// at a time. What fails is logged, and tried again.
func Link(ctx context.Context, keeper *flows.Keeper, log zerolog.Logger) {
	l := linker{keeper: keeper, log: log, seekAgain: seekAgainTime}
	l.run(ctx)
}

func (l *linker) run(ctx context.Context) {
	wait := linkEvery
	for tries := 0; ; {
		pause(ctx, wait/2+rand.N(wait)) //nolint:gosec // jitter needs no secrecy
		if ctx.Err() != nil {
			return
		}
		more, err := l.step(ctx)
		switch {
		case err == nil && more:
			tries, wait = 0, linkEvery/100
		case err == nil, errors.Is(err, flows.ErrBusy):
			tries, wait = 0, linkEvery
		default:
			tries++
			wait = min(linkEvery<<min(tries, 10), maxLinkWait)
			if tries == 3 && ctx.Err() == nil {
				l.log.Warn().Err(hush(err)).Msg("cannot link answers to sends that were registered after them: still trying")
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

type linker struct {
	keeper    *flows.Keeper
	log       zerolog.Logger
	seekAgain time.Duration
	analyzed  time.Time
}

// dueSQL takes the sends whose answers are to be looked for now.
const dueSQL = `
SELECT id FROM flow_sends
WHERE linked_at IS NULL AND status <> 'pending' AND sought_at < clock_timestamp() - $1::bigint * interval '1 millisecond'
ORDER BY sought_at LIMIT $2 FOR UPDATE SKIP LOCKED`

// soughtSQL notes that they were looked for. The second time is the last.
const soughtSQL = `
UPDATE flow_sends SET sought_at = clock_timestamp(), linked_at = CASE WHEN sought_at > '-infinity' THEN clock_timestamp() END
WHERE id = ANY($1::bigint[])`

// step looks for the answers to some sends. It returns whether there are more to
// be looked for now.
func (l *linker) step(ctx context.Context) (more bool, err error) {
	var due []int64
	err = l.keeper.Move(ctx, func(tx pgx.Tx) (moved []flows.Moved, err error) {
		rows, _ := tx.Query(ctx, dueSQL, l.seekAgain.Milliseconds(), linkSends)
		if due, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err != nil || len(due) == 0 {
			return nil, err
		}
		more = len(due) == linkSends
		for _, sql := range []string{linkMessagesSQL, linkTokensSQL} {
			found, err := link(ctx, tx, sql, due)
			if err != nil {
				return nil, err
			}
			moved = append(moved, found...)
			if len(found) == linkAnswers {
				more = true
				return moved, nil // there are others: these sends stay due
			}
		}
		_, err = tx.Exec(ctx, soughtSQL, due)
		return moved, err
	})
	if err != nil {
		return false, fmt.Errorf("link answers: %w", err)
	}
	if more {
		err = l.analyze(ctx)
	}
	return more, err
}

// analyzeSQL keeps the planner from taking a register that grew at once for one
// that is small, and reading all of it for each answer.
const analyzeSQL = `ANALYZE flow_sends`

func (l *linker) analyze(ctx context.Context) error {
	if time.Since(l.analyzed) < time.Minute {
		return nil
	}
	err := l.keeper.Move(ctx, func(tx pgx.Tx) ([]flows.Moved, error) {
		_, err := tx.Exec(ctx, analyzeSQL)
		return nil, err
	})
	if err == nil {
		l.analyzed = time.Now()
	}
	return err
}

// The answers that may be linked to some sends, found by an index each: by the
// message that they answer; by a token whose flow nothing told, or only an
// answer or a guess, as far as all its sends are of one flow. A guess that was
// right becomes knowledge too.
const (
	linkMessagesSQL = `
WITH candidate AS (
	SELECT r.message_id FROM flow_sends AS s
	JOIN flow_responses AS r ON left(r.context_message_id, 200) = left(s.wamid, 200) AND r.context_message_id = s.wamid
	WHERE s.id = ANY($1::bigint[]) AND (r.flow_id_source IS NULL OR r.flow_id_source NOT IN ('known_flow', 'sent_message'))
	LIMIT $2
)` + moveSQL

	linkTokensSQL = `
WITH candidate AS (
	SELECT r.message_id
	FROM (SELECT DISTINCT flow_token FROM flow_sends WHERE id = ANY($1::bigint[]) AND flow_token IS NOT NULL) AS given
	CROSS JOIN LATERAL (
		SELECT given.flow_token
		FROM (SELECT flow_id FROM flow_sends WHERE flow_token = given.flow_token ORDER BY flow_id LIMIT 1) AS first
		JOIN (SELECT flow_id FROM flow_sends WHERE flow_token = given.flow_token ORDER BY flow_id DESC LIMIT 1) AS last
			ON first.flow_id = last.flow_id
	) AS token
	JOIN flow_responses AS r ON left(r.flow_token, 200) = left(token.flow_token, 200) AND r.flow_token = token.flow_token
	WHERE r.token_kind <> 'none' AND (r.flow_id_source IS NULL OR r.flow_id_source IN ('answer_field', 'token_shape'))
	LIMIT $2
)` + moveSQL

	// moveSQL links the candidates by what link_response says, in the order in
	// which the writer locks rows, and returns from where to where they moved.
	moveSQL = `, known AS (
	SELECT r.message_id, r.flow_id AS was, link.*
	FROM flow_responses AS r
	CROSS JOIN LATERAL link_response(r.context_message_id, r.flow_token, r.token_kind, r.flow_id, r.flow_id_source) AS link
	WHERE r.message_id IN (SELECT message_id FROM candidate) AND link.flow_id_source IS DISTINCT FROM r.flow_id_source
	ORDER BY r.message_id FOR UPDATE OF r
)
UPDATE flow_responses AS r SET token_kind = known.token_kind, flow_id = known.flow_id, flow_id_source = known.flow_id_source
FROM known WHERE r.message_id = known.message_id
RETURNING r.message_id, coalesce(known.was, ''), r.flow_id`
)

func link(ctx context.Context, tx pgx.Tx, sql string, due []int64) ([]flows.Moved, error) {
	rows, _ := tx.Query(ctx, sql, due, linkAnswers) // CollectRows returns the error
	return pgx.CollectRows(rows, pgx.RowToStructByPos[flows.Moved])
}

// refusal is the SQLSTATE, and no more, of an error of the database's.
type refusal string

func (r refusal) Error() string { return "the database refuses it: SQLSTATE " + string(r) }

// hush leaves of an error of the database's no more than its SQLSTATE: its
// message may quote a row.
func hush(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refusal(pg.Code)
	}
	return err
}
