package store

import (
	"context"
	"fmt"
)

const eraseSendsSQL = `
DELETE FROM flow_sends WHERE id = ANY($1::bigint[]) AND sent_at <= coalesce($2::timestamptz, 'infinity')`

// sendsOfSQL finds what was sent to a person: by recipient, and, since a sender
// need not name one, by the answers that are about to be deleted. A message's
// own id finds that message only.
const sendsOfSQL = `
SELECT id FROM flow_sends WHERE recipient = $1 OR wamid = $1
UNION
SELECT answer.send_id FROM flow_responses AS r JOIN flow_answers AS answer USING (message_id)
WHERE (r.wa_id = $1 OR r.user_id = $1) AND least(r.sent_at, r.received_at) <= coalesce($2::timestamptz, 'infinity')
	AND answer.send_id IS NOT NULL`

// eraseSends deletes what the register knows of an id. It must come before the
// answers go.
func (db *DB) eraseSends(ctx context.Context, e *Erasure, id string) error {
	sends, err := collect[int64](ctx, db, sendsOfSQL, id, unlessZero(e.Cutoff))
	if err != nil {
		return unavailable(fmt.Errorf("find sends: %w", err))
	}
	return db.deleteSends(ctx, e, sends)
}

func (db *DB) deleteSends(ctx context.Context, e *Erasure, ids []int64) error {
	deleted, err := db.delete(ctx, eraseSendsSQL, ids, unlessZero(e.Cutoff))
	if err != nil {
		return unavailable(fmt.Errorf("erase sends: %w", err))
	}
	e.Sends += deleted
	return nil
}

// namelessSQL pages through the sends without a recipient.
const namelessSQL = `
SELECT id, coalesce(wamid, '') FROM flow_sends WHERE recipient IS NULL AND id > $1 ORDER BY id LIMIT $2`

const sweepSendsSQL = `
DELETE FROM flow_sends USING unnest($1::bigint[], $2::text[]) AS mention (send, id), ` + keySQL + `, erasures
WHERE flow_sends.id = send AND hash = sha256(key || convert_to(mention.id, 'UTF8')) AND cutoff >= sent_at`

// sweepSends deletes the sends that name nobody, but whose wamid holds a number
// that a tombstone covers (docs/privacy.md).
func (db *DB) sweepSends(ctx context.Context, e *Erasure) error {
	for last := int64(0); ; {
		page, err := db.readMentions(ctx, namelessSQL, last, againRows)
		if err != nil {
			return unavailable(fmt.Errorf("read sends: %w", err))
		}
		if page.last == 0 {
			return nil
		}
		deleted, err := db.delete(ctx, sweepSendsSQL, page.records, page.mentioned)
		if err != nil {
			return unavailable(fmt.Errorf("erase sends: %w", err))
		}
		e.Sends += deleted
		last = page.last
	}
}

// eraseAnsweredSQL deletes the sends that a page's answers answered, as far as
// the person who answered is erased, and not only the answer. What erased_among
// is given first, and returns, is no id of anybody's.
const eraseAnsweredSQL = `
DELETE FROM flow_sends USING flow_answers AS answer, (
	SELECT erased_among(array_agg('answer ' || message_id), array_agg(wa_id), array_agg(user_id), array_agg(sent_at), array_agg(received_at)) AS erased
	FROM flow_responses WHERE message_id > $1 AND message_id <= $2) AS page
WHERE 'answer ' || answer.message_id = ANY(page.erased) AND answer.message_id > $1 AND answer.message_id <= $2 AND flow_sends.id = answer.send_id`

const sendsPageSQL = `
SELECT coalesce(max(id), 0) FROM (SELECT id FROM flow_sends WHERE id > $1 ORDER BY id LIMIT $2) AS page`

// coveredSendsSQL finds the sends of a page that a tombstone covers, in the same
// manner.
const coveredSendsSQL = `
SELECT substr(covered, 6)::bigint FROM unnest((
	SELECT erased_among(array_agg('send ' || id), array_agg(recipient), array_agg(wamid), array_agg(sent_at), array_agg(sent_at))
	FROM flow_sends WHERE id > $1 AND id <= $2)) AS covered`

// eraseSendsAgain deletes the sends that a tombstone covers.
func (db *DB) eraseSendsAgain(ctx context.Context, e *Erasure) error {
	for above := int64(0); ; {
		page, err := collect[int64](ctx, db, sendsPageSQL, above, againRows)
		if err != nil {
			return unavailable(fmt.Errorf("read sends: %w", err))
		}
		if page[0] == 0 {
			return nil
		}
		covered, err := collect[int64](ctx, db, coveredSendsSQL, above, page[0])
		if err != nil {
			return unavailable(fmt.Errorf("find erased sends: %w", err))
		}
		if err := db.deleteSends(ctx, e, covered); err != nil {
			return err
		}
		above = page[0]
	}
}
