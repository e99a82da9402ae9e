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
// bytes are one record until it is settled; the clause locks it, as that of
// insertResponsesSQL does.
const insertQuarantineSQL = `
INSERT INTO quarantine (received_at, source, reason, detail, headers, body)
SELECT DISTINCT ON (sha256(body)) received_at, source, reason, detail, headers, body
FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::bytea[])
	AS item (received_at, source, reason, detail, headers, body)
ORDER BY sha256(body)
ON CONFLICT (sha256(body)) WHERE settled_at IS NULL DO UPDATE SET reason = EXCLUDED.reason WHERE false`

// storeSuspects commits items to quarantine.
func (w *Writer) storeSuspects(ctx context.Context, bad []suspect) error {
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
	err := w.db.twice(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, insertQuarantineSQL, received, source, reason, detail, headers, body)
		return err
	})
	if err != nil {
		return unavailable(fmt.Errorf("insert quarantine: %w", err))
	}
	for _, b := range bad {
		b.job.results[b.item] = Quarantined
		w.log.Warn().Str("reason", string(b.Reason)).Str("detail", b.Detail).Int("bytes", len(b.Body)).Msg("item quarantined")
	}
	return nil
}

// headersJSON keeps the hints that a delivery's headers gave.
func headersJSON(d *flowparse.Delivery) []byte {
	hints := map[string]string{}
	if d.Event != "" {
		hints["x-webhook-event"] = d.Event
	}
	if d.IdempotencyKey != "" {
		hints["x-idempotency-key"] = d.IdempotencyKey
	}
	text, _ := json.Marshal(hints) // strings always marshal; bad UTF-8 becomes U+FFFD
	return text
}
