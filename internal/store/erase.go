package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/flowparse"
)

// ErrStillWriting means that a tombstone stands, but a transaction that began
// before it has not ended, and could still bring the person back.
var ErrStillWriting = errors.New("a transaction that began before the erasure is still writing")

const (
	eraseRows   = 1000 // of one transaction
	againRows   = 5000 // that one statement looks at
	sweepBodies = 16   // of quarantine, in memory at a time
	writersWait = 30 * time.Second
	writersPoll = 20 * time.Millisecond
)

// Erasure is what an erasure did. It holds no personal data that others can
// read.
type Erasure struct {
	IDs         []int64   // of the tombstones
	Cutoff      time.Time // up to here the person is erased; zero for a message, which is erased whenever it comes
	Responses   int64     // rows deleted
	Quarantined int64     // records deleted
	Sends       int64     // rows of the register deleted

	ids map[string]bool // that were erased
}

// ErasePerson erases a person, given by phone number (digits) or
// business-scoped user id, and under every such id that stands beside the given
// one in a row. It leaves tombstones, so that no writer of this or a later
// version keeps what was sent or received until now, whatever way it comes. When
// it returns, nothing of that is in flow_responses, in flow_sends, or mentioned in
// quarantine.
//
// It may be repeated at will, and must be after ErrStillWriting or
// ErrUnavailable.
func (db *DB) ErasePerson(ctx context.Context, id string) (*Erasure, error) {
	linked, err := collect[string](ctx, db, linkedSQL, id)
	if err != nil {
		return nil, unavailable(fmt.Errorf("find the ids of a person: %w", err))
	}
	return db.erase(ctx, append(linked, id), nil)
}

// linkedSQL finds the ids that stand beside one. It follows them no further.
const linkedSQL = `
SELECT DISTINCT other FROM flow_responses, unnest(ARRAY[wa_id, user_id]) AS other
WHERE (wa_id = $1 OR user_id = $1) AND other <> $1`

// EraseMessage erases one message, for ever, and is like ErasePerson otherwise.
func (db *DB) EraseMessage(ctx context.Context, messageID string) (*Erasure, error) {
	forever := "infinity"
	return db.erase(ctx, []string{messageID}, &forever)
}

// Covers tells whether everything in a delivery that arrived before the erasure
// is erased.
func (e *Erasure) Covers(d *flowparse.Delivery) bool {
	for i := range d.Responses {
		r := &d.Responses[i]
		if !e.ids[r.MessageID] && !e.ids[r.WaID] && !e.ids[r.UserID] {
			return false
		}
	}
	for _, r := range d.Rejects {
		if !e.mentionedIn(r.Body) {
			return false
		}
	}
	for _, s := range d.Statuses {
		if !e.mentionedIn([]byte(s.Wamid + " " + s.Recipient)) {
			return false
		}
	}
	return len(d.Responses)+len(d.Rejects)+len(d.Statuses) > 0
}

func (e *Erasure) mentionedIn(body []byte) bool {
	for _, id := range mentions(body) {
		if e.ids[id] {
			return true
		}
	}
	return false
}

// erase leaves tombstones, and deletes once no write that has not seen them can
// commit any more.
func (db *DB) erase(ctx context.Context, ids []string, cutoff *string) (*Erasure, error) {
	e := &Erasure{ids: map[string]bool{}}
	if err := db.leaveTombstones(ctx, e, ids, cutoff); err != nil {
		return nil, err
	}
	if err := db.awaitWriters(ctx); err != nil {
		return nil, err
	}
	for _, id := range ids {
		e.ids[id] = true
		if err := db.eraseSends(ctx, e, id); err != nil {
			return nil, err
		}
		for deleted := int64(eraseRows); deleted == eraseRows; e.Responses += deleted {
			var err error
			if deleted, err = db.delete(ctx, eraseResponsesSQL, id, unlessZero(e.Cutoff), eraseRows); err != nil {
				return nil, unavailable(fmt.Errorf("erase responses: %w", err))
			}
		}
	}
	if err := db.sweepSends(ctx, e); err != nil {
		return nil, err
	}
	return e, db.sweepQuarantine(ctx, e)
}

const leaveTombstonesSQL = `
INSERT INTO erasures (hash, cutoff)
SELECT sha256(key || convert_to(id, 'UTF8')), coalesce($2::text::timestamptz, now()) FROM ` + keySQL + `, unnest($1::text[]) AS id
ORDER BY 1
ON CONFLICT (hash) DO UPDATE SET cutoff = greatest(erasures.cutoff, EXCLUDED.cutoff), erased_at = EXCLUDED.erased_at
RETURNING id, nullif(cutoff, 'infinity')`

func (db *DB) leaveTombstones(ctx context.Context, e *Erasure, ids []string, cutoff *string) error {
	err := db.twice(ctx, func(conn *pgx.Conn) error {
		e.IDs = nil
		rows, _ := conn.Query(ctx, leaveTombstonesSQL, ids, cutoff) // ForEachRow returns the error
		var id int64
		var until *time.Time
		_, err := pgx.ForEachRow(rows, []any{&id, &until}, func() error {
			e.IDs = append(e.IDs, id)
			if until != nil {
				e.Cutoff = *until
			}
			return nil
		})
		return err
	})
	if err != nil {
		return unavailable(fmt.Errorf("leave tombstones: %w", err))
	}
	if len(e.IDs) == 0 {
		return fmt.Errorf("%w: the table erasure_key is empty: restore it together with erasures (docs/privacy.md)", ErrUnfit)
	}
	return nil
}

// writersSQL finds the transactions that write now. A statement locks its table
// before it looks at what is committed: one that has not seen a tombstone holds
// its lock already when the tombstone is committed. A prepared transaction has
// no pid.
const writersSQL = `
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE relation IN ('flow_responses'::regclass, 'quarantine'::regclass, 'flow_sends'::regclass) AND mode = 'RowExclusiveLock' AND granted
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
	AND pid IS DISTINCT FROM pg_backend_pid() AND ($1::text[] IS NULL OR virtualtransaction = ANY($1))`

// awaitWriters waits until all transactions that write now have ended. To lock
// the tables instead would make new ones queue, and would wait for a vacuum.
func (db *DB) awaitWriters(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, writersWait)
	defer cancel()
	poll := time.NewTicker(writersPoll)
	defer poll.Stop()
	writers, err := collect[string](limited, db, writersSQL, nil)
	found := len(writers) > 0
	for err == nil && len(writers) > 0 {
		select {
		case <-limited.Done():
		case <-poll.C:
		}
		writers, err = collect[string](limited, db, writersSQL, writers)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("wait for writers: %w", ctx.Err())
	case found && limited.Err() != nil:
		return fmt.Errorf("%w after %v: end it, and say the command again", ErrStillWriting, writersWait)
	}
	return unavailable(fmt.Errorf("wait for writers: %w", err))
}

// eraseResponsesSQL locks in the order of keys, as writers do.
const eraseResponsesSQL = `
DELETE FROM flow_responses WHERE message_id = ANY(ARRAY(
	SELECT message_id FROM flow_responses
	WHERE (message_id = $1 OR wa_id = $1 OR user_id = $1)
		AND least(sent_at, received_at) <= coalesce($2::timestamptz, 'infinity')
	ORDER BY message_id LIMIT $3 FOR UPDATE))`

// delete runs a statement and returns the number of rows that it deleted.
func (db *DB) delete(ctx context.Context, sql string, args ...any) (deleted int64, err error) {
	err = db.twice(ctx, func(conn *pgx.Conn) error {
		tag, err := conn.Exec(ctx, sql, args...)
		deleted = tag.RowsAffected()
		return err
	})
	return deleted, err
}

const bodiesSQL = `SELECT id, body FROM quarantine WHERE id > $1 ORDER BY id LIMIT $2`

const sweepQuarantineSQL = `
DELETE FROM quarantine USING unnest($1::bigint[], $2::text[]) AS mention (record, id), ` + keySQL + `, erasures
WHERE quarantine.id = record AND hash = sha256(key || convert_to(mention.id, 'UTF8')) AND cutoff >= received_at`

// sweepQuarantine deletes every record, settled or not, that mentions what is
// erased.
func (db *DB) sweepQuarantine(ctx context.Context, e *Erasure) error {
	for last := int64(0); ; {
		page, err := db.readMentions(ctx, bodiesSQL, last, sweepBodies)
		if err != nil {
			return unavailable(fmt.Errorf("read quarantine: %w", err))
		}
		if page.last == 0 {
			return nil
		}
		deleted, err := db.delete(ctx, sweepQuarantineSQL, page.records, page.mentioned)
		if err != nil {
			return unavailable(fmt.Errorf("erase from quarantine: %w", err))
		}
		e.Quarantined += deleted
		last = page.last
	}
}

const pageSQL = `
SELECT coalesce(max(message_id), '') FROM (
	SELECT message_id FROM flow_responses WHERE message_id > $1 ORDER BY message_id LIMIT $2) AS page`

const eraseAgainSQL = `
DELETE FROM flow_responses USING (
	SELECT erased_among(array_agg(message_id), array_agg(wa_id), array_agg(user_id), array_agg(sent_at), array_agg(received_at)) AS erased
	FROM flow_responses WHERE message_id > $1 AND message_id <= $2) AS page
WHERE message_id = ANY(page.erased)`

// EraseAgain deletes whatever a tombstone covers, by looking at every row. It is
// for tables that were restored from a backup.
func (db *DB) EraseAgain(ctx context.Context) (*Erasure, error) {
	if err := db.awaitWriters(ctx); err != nil {
		return nil, err
	}
	e := &Erasure{}
	if err := db.eraseSendsAgain(ctx, e); err != nil {
		return nil, err
	}
	if err := db.sweepSends(ctx, e); err != nil {
		return nil, err
	}
	for above := ""; ; {
		page, err := collect[string](ctx, db, pageSQL, above, againRows)
		if err != nil {
			return nil, unavailable(fmt.Errorf("read responses: %w", err))
		}
		if page[0] == "" {
			return e, db.sweepQuarantine(ctx, e)
		}
		answered, err := db.delete(ctx, eraseAnsweredSQL, above, page[0])
		if err != nil {
			return nil, unavailable(fmt.Errorf("erase sends: %w", err))
		}
		e.Sends += answered
		deleted, err := db.delete(ctx, eraseAgainSQL, above, page[0])
		if err != nil {
			return nil, unavailable(fmt.Errorf("erase responses: %w", err))
		}
		e.Responses += deleted
		above = page[0]
	}
}
