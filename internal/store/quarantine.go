package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/flowparse"
)

// ReasonRejectedByDatabase is why a row that reads well lies in quarantine:
// Postgres refused it, alone, for what is in it.
const ReasonRejectedByDatabase flowparse.Reason = "rejected_by_database"

// insertQuarantineSQL keeps items that could not be read or stored. The same
// bytes are one record until it is settled, which says why they failed last;
// the clause locks it, as that of insertResponsesSQL does. It returns the
// length of each body that is new.
const insertQuarantineSQL = `
INSERT INTO quarantine (received_at, source, reason, detail, headers, body)
SELECT DISTINCT ON (sha256(body)) received_at, source, reason, detail, headers, body
FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::bytea[])
	AS item (received_at, source, reason, detail, headers, body)
ORDER BY sha256(body)
ON CONFLICT (sha256(body)) WHERE settled_at IS NULL
	DO UPDATE SET reason = EXCLUDED.reason, detail = EXCLUDED.detail
	WHERE (quarantine.reason, quarantine.detail) IS DISTINCT FROM (EXCLUDED.reason, EXCLUDED.detail)
RETURNING length(body)`

// storeSuspects commits items to quarantine, as far as it has room.
func (w *Writer) storeSuspects(ctx context.Context, bad []suspect) error {
	bad, err := w.withinLimit(ctx, bad)
	if err != nil {
		return unavailable(fmt.Errorf("look into quarantine: %w", err))
	}
	if len(bad) == 0 {
		return nil
	}
	lengths, err := w.db.insertSuspects(ctx, bad)
	if err != nil {
		return unavailable(fmt.Errorf("insert quarantine: %w", err))
	}
	w.quarantine.grow(lengths)
	for _, b := range bad {
		b.job.results[b.item] = Quarantined
		w.metrics.quarantined.WithLabelValues(string(b.Reason)).Inc()
		w.log.Warn().Str("reason", string(b.Reason)).Str("detail", b.Detail).Int("bytes", len(b.Body)).Msg("item quarantined")
	}
	return nil
}

// insertSuspects returns the lengths of the bodies that quarantine did not hold
// yet. One whose reason changed is among them too.
func (db *DB) insertSuspects(ctx context.Context, bad []suspect) (lengths []int64, err error) {
	n := len(bad)
	received := make([]time.Time, n)
	source, reason, detail := make([]string, n), make([]string, n), make([]string, n)
	headers, body := make([][]byte, n), make([][]byte, n)
	for i, b := range bad {
		d := b.job.delivery
		received[i], source[i], reason[i] = d.ReceivedAt, string(d.Source), string(b.Reason)
		detail[i], headers[i] = b.Detail, headersJSON(d)
		body[i] = append([]byte{}, b.Body...) // never nil, which would be null: a body can be empty
	}
	err = db.twice(ctx, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, insertQuarantineSQL, received, source, reason, detail, headers, body)
		if err != nil {
			return err
		}
		lengths, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
	return lengths, err
}

// The hints that a delivery's headers gave, as a record keeps them.
const (
	eventHeader = "x-webhook-event"
	keyHeader   = "x-idempotency-key"
)

func headersJSON(d *flowparse.Delivery) []byte {
	hints := map[string]string{}
	if d.Event != "" {
		hints[eventHeader] = d.Event
	}
	if d.IdempotencyKey != "" {
		hints[keyHeader] = d.IdempotencyKey
	}
	text, _ := json.Marshal(hints) // strings always marshal; bad UTF-8 becomes U+FFFD
	return text
}
