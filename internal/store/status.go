package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/flowparse"
)

// registerSentSQL registers messages whose event says which flow they carry,
// unless they are erased. $8 to $10 are each message with each id that tells whose it is.
const registerSentSQL = `
INSERT INTO flow_sends (wamid, flow_id, flow_token, recipient, phone_number_id, kind, template, sent_at)
SELECT DISTINCT ON (wamid) wamid, flow_id, nullif(flow_token, ''), nullif(recipient, ''), nullif(phone_number_id, ''),
	CASE template WHEN '' THEN 'interactive' ELSE 'template' END, nullif(template, ''), sent_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
	AS event (wamid, flow_id, flow_token, recipient, phone_number_id, template, sent_at)
WHERE CASE WHEN ` + hasErasuresSQL + ` THEN wamid <> ALL ((SELECT erased_among($8, $9, NULL, $10, $10))::text[]) ELSE true END
ORDER BY wamid, sent_at
ON CONFLICT (wamid) DO NOTHING`

// advanceSendsSQL brings registered sends to where they got, in whatever order
// the events came: a state never goes back. What is not registered, and what was
// told before, is left alone. Rows are locked in one order everywhere.
const advanceSendsSQL = `
WITH told AS (
	SELECT wamid, max(array_position('{sent,failed,delivered,read}', state)) AS rank, max(failure) AS failure,
		min(at) FILTER (WHERE state = 'delivered') AS delivered_at, min(at) FILTER (WHERE state = 'read') AS read_at,
		min(at) FILTER (WHERE state = 'failed') AS failed_at
	FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[]) AS event (wamid, state, at, failure)
	GROUP BY wamid
), known AS (
	SELECT s.id, greatest(told.rank, array_position('{sent,failed,delivered,read}', s.status)) AS rank,
		told.delivered_at, told.read_at, told.failed_at, told.failure
	FROM told JOIN flow_sends AS s ON s.wamid = told.wamid
	WHERE told.rank > coalesce(array_position('{sent,failed,delivered,read}', s.status), 0)
		OR s.delivered_at IS NULL AND told.delivered_at IS NOT NULL OR s.read_at IS NULL AND told.read_at IS NOT NULL
	ORDER BY s.wamid FOR UPDATE OF s
)
UPDATE flow_sends AS s SET status = ('{sent,failed,delivered,read}'::text[])[known.rank],
	delivered_at = coalesce(s.delivered_at, known.delivered_at), read_at = coalesce(s.read_at, known.read_at),
	failed_at = coalesce(s.failed_at, known.failed_at),
	failure = CASE WHEN known.failed_at IS NULL THEN s.failure ELSE nullif(known.failure, '') END
FROM known WHERE s.id = known.id`

// storeStatuses brings the register to what events tell of messages that were
// sent. Events that the database refuses for what is in them are given up: they
// are worth no record in quarantine, and must not hold up answers.
func (w *Writer) storeStatuses(ctx context.Context, events []entry) error {
	err := w.db.twice(ctx, func(conn *pgx.Conn) error { return advanceSends(ctx, conn, events) })
	switch {
	case isRowFault(err):
		w.log.Error().Str("sqlstate", sqlState(err)).Int("events", len(events)).
			Msg("the register of sends refuses status events: they are given up. Is there a constraint or a trigger on flow_sends?")
	case err != nil:
		return unavailable(fmt.Errorf("update sends: %w", err))
	}
	for _, e := range events {
		e.job.results[e.item] = Noted
	}
	return nil
}

func advanceSends(ctx context.Context, conn *pgx.Conn, events []entry) error {
	n := len(events)
	wamids, states, failures, at := make([]string, n), make([]string, n), make([]string, n), make([]time.Time, n)
	var carried []flowparse.SendStatus
	for i, e := range events {
		s := *e.status()
		if s.At.IsZero() {
			s.At = e.job.delivery.ReceivedAt
		}
		wamids[i], states[i], failures[i], at[i] = s.Wamid, string(s.State), s.Failure, s.At
		if s.SentAt.IsZero() && s.State == flowparse.StateSent {
			s.SentAt = s.At
		}
		if s.FlowID != "" && !s.SentAt.IsZero() { // else nobody can tell whether an erasure covers it
			carried = append(carried, s)
		}
	}
	if len(carried) > 0 {
		if err := registerSent(ctx, conn, carried); err != nil {
			return err
		}
	}
	_, err := conn.Exec(ctx, advanceSendsSQL, wamids, states, at, failures)
	return err
}

func registerSent(ctx context.Context, conn *pgx.Conn, sent []flowparse.SendStatus) error {
	var columns [6][]string
	var sentAt, sentThen []time.Time
	var wamids, people []string
	for i := range sent {
		s := &sent[i]
		for j, text := range [...]string{s.Wamid, s.FlowID, s.FlowToken, s.Recipient, s.PhoneNumberID, s.Template} {
			columns[j] = append(columns[j], text)
		}
		sentAt = append(sentAt, s.SentAt)
		ids := []string{s.Recipient}
		if s.Recipient == "" {
			ids = append(ids, mentions([]byte(s.Wamid))...)
		}
		for _, id := range ids {
			wamids, people, sentThen = append(wamids, s.Wamid), append(people, id), append(sentThen, s.SentAt)
		}
	}
	_, err := conn.Exec(ctx, registerSentSQL, columns[0], columns[1], columns[2], columns[3], columns[4], columns[5], sentAt,
		wamids, people, sentThen)
	return err
}
