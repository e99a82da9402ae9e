package sends

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"flowkeep/internal/store"
)

// Imported says what an import did.
type Imported struct {
	New    int64 // sends that are registered now
	Known  int64 // sends whose wamid was registered before: nothing of them was changed
	Erased int64 // sends that a tombstone covers: they are left out
}

func (i *Imported) add(more Imported) {
	i.New += more.New
	i.Known += more.Known
	i.Erased += more.Erased
}

const importBatch = 500

// importSQL registers sends that went out by other means, unless they are
// erased: one that does not say when it was sent is as old as can be. It may be
// repeated at will.
const importSQL = `
WITH send AS MATERIALIZED (
	SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::timestamptz[], $10::text[])
		AS send (wamid, flow_id, flow_token, recipient, phone_number_id, kind, template, context, sent_at, person)
), tombstones AS (
	SELECT erased_among(array_agg(wamid), array_agg(person), NULL, array_agg(coalesce(sent_at, '-infinity')), NULL) AS wamids
	FROM send WHERE EXISTS (SELECT FROM erasures)
), erased AS (
	SELECT DISTINCT unnest(wamids) AS wamid FROM tombstones
), registered AS (
	INSERT INTO flow_sends (wamid, flow_id, flow_token, recipient, phone_number_id, kind, template, context, sent_at)
	SELECT DISTINCT ON (wamid) wamid, flow_id, nullif(flow_token, ''), nullif(recipient, ''), nullif(phone_number_id, ''), kind,
		nullif(template, ''), context, coalesce(sent_at, now())
	FROM send WHERE wamid NOT IN (SELECT wamid FROM erased)
	ORDER BY wamid
	ON CONFLICT (wamid) DO NOTHING
	RETURNING wamid
)
SELECT (SELECT count(*) FROM registered), (SELECT count(*) FROM send JOIN erased USING (wamid))`

// Import registers sends that went out by other means, read by ReadCSV or
// ReadNDJSON. What it has registered when it fails stays; it may be repeated. An
// error that comes from list, or wraps ErrInvalid, names the line, and every
// send before it is registered.
func (r *Register) Import(ctx context.Context, list iter.Seq2[Send, error]) (done Imported, err error) {
	batch := make([]Send, 0, importBatch)
	flush := func() error {
		more, err := r.importSends(ctx, batch)
		done.add(more)
		batch = batch[:0]
		return err
	}
	for s, err := range list {
		if err != nil {
			// Those before it are good: they need not be read again.
			if flushErr := flush(); flushErr != nil {
				return done, flushErr
			}
			return done, err
		}
		if batch = append(batch, s); len(batch) == importBatch {
			if err := flush(); err != nil {
				return done, err
			}
		}
	}
	return done, flush()
}

// importSends imports a batch at once. If the database refuses what is in it,
// it halves the batch until the first such send is found.
func (r *Register) importSends(ctx context.Context, batch []Send) (done Imported, err error) {
	if len(batch) == 0 {
		return done, nil
	}
	done, err = r.importBatch(ctx, batch)
	switch {
	case err == nil:
		return done, nil
	case !errors.Is(err, errData):
		return Imported{}, fmt.Errorf("import sends: %w", err)
	case len(batch) == 1:
		return Imported{}, fmt.Errorf("line %d: %w: context is nothing that Postgres can hold: %w", batch[0].line, ErrInvalid, err)
	}
	half := len(batch) / 2
	if done, err = r.importSends(ctx, batch[:half]); err != nil {
		return done, err
	}
	more, err := r.importSends(ctx, batch[half:])
	done.add(more)
	return done, err
}

// errData means that the database refuses a value (class 22). Of the columns
// only context can bring that about, once normalize has seen them.
var errData = errors.New("a value is refused")

func (r *Register) importBatch(ctx context.Context, batch []Send) (done Imported, err error) {
	var columns [8][]string
	contexts, sentAt := make([]json.RawMessage, len(batch)), make([]*time.Time, len(batch))
	for i := range batch {
		s := &batch[i]
		person := cmp.Or(s.Recipient, store.Recipient(s.Wamid))
		for j, text := range [...]string{s.Wamid, s.FlowID, s.FlowToken, s.Recipient, s.PhoneNumberID, s.Kind, s.Template, person} {
			columns[j] = append(columns[j], text)
		}
		contexts[i], sentAt[i] = s.Context, s.sentAt()
	}
	err = r.durably(ctx, func(tx pgx.Tx) error {
		row := tx.QueryRow(ctx, importSQL, columns[0], columns[1], columns[2], columns[3], columns[4], columns[5], columns[6], contexts, sentAt, columns[7])
		err := row.Scan(&done.New, &done.Erased)
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && strings.HasPrefix(pg.Code, "22") {
			return fmt.Errorf("%w: SQLSTATE %s", errData, pg.Code)
		}
		return err
	})
	done.Known = int64(len(batch)) - done.New - done.Erased
	return done, err
}
