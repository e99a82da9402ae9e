package sends

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"
)

// Imported says what an import did.
type Imported struct {
	New   int64 // sends that are registered now
	Known int64 // sends whose wamid was registered before: nothing of them was changed
}

const importBatch = 500

// importSQL registers sends that went out by other means. It may be repeated at
// will.
const importSQL = `
INSERT INTO flow_sends (wamid, flow_id, flow_token, recipient, phone_number_id, kind, template, context, sent_at)
SELECT DISTINCT ON (wamid) wamid, flow_id, nullif(flow_token, ''), nullif(recipient, ''), nullif(phone_number_id, ''), kind,
	nullif(template, ''), context, coalesce(sent_at, now())
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::timestamptz[])
	AS send (wamid, flow_id, flow_token, recipient, phone_number_id, kind, template, context, sent_at)
ORDER BY wamid
ON CONFLICT (wamid) DO NOTHING`

// Import registers sends that went out by other means: each needs a wamid and a
// flow id. What it has registered when it fails stays; it may be repeated. An
// error that comes from list, or wraps ErrInvalid, tells which send it is about.
func (r *Register) Import(ctx context.Context, list iter.Seq2[Send, error]) (done Imported, err error) {
	batch := make([]Send, 0, importBatch)
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		added, err := r.importBatch(ctx, batch)
		done.New += added
		done.Known += int64(len(batch)) - added
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

func (r *Register) importBatch(ctx context.Context, batch []Send) (added int64, err error) {
	var columns [7][]string
	contexts, sentAt := make([]json.RawMessage, len(batch)), make([]*time.Time, len(batch))
	for i := range batch {
		s := &batch[i]
		for j, text := range [...]string{s.Wamid, s.FlowID, s.FlowToken, s.Recipient, s.PhoneNumberID, s.Kind, s.Template} {
			columns[j] = append(columns[j], text)
		}
		contexts[i], sentAt[i] = s.Context, s.sentAt()
	}
	err = r.durably(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, importSQL, columns[0], columns[1], columns[2], columns[3], columns[4], columns[5], columns[6], contexts, sentAt)
		added = tag.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("import sends: %w", err)
	}
	return added, nil
}
