package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/flowparse"
)

// ReasonRejectedByDatabase is why a row that reads well lies in quarantine:
// Postgres refused it, alone, for what is in it.
const ReasonRejectedByDatabase flowparse.Reason = "rejected_by_database"

// insertQuarantineSQL keeps items that could not be read or stored. The same
// bytes are one record until it is settled, which says why they failed last;
// the clause locks it, as that of insertResponsesSQL does. Left out is an item
// that mentions what was erased after it had been sent or received ($9). It returns the
// number of each item that is left out, and the length of each body that is new.
const insertQuarantineSQL = `
WITH erased AS (
	SELECT DISTINCT number
	FROM unnest($7::int[], $8::text[]) AS mention (number, id), ` + keySQL + `, erasures
	WHERE ` + hasErasuresSQL + ` AND hash = sha256(key || convert_to(mention.id, 'UTF8')) AND cutoff >= ($9::timestamptz[])[number]
), kept AS (
	INSERT INTO quarantine (received_at, source, reason, detail, headers, body)
	SELECT DISTINCT ON (sha256(body)) received_at, source, reason, detail, headers, body
	FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::bytea[])
		WITH ORDINALITY AS item (received_at, source, reason, detail, headers, body, number)
	WHERE number NOT IN (SELECT number FROM erased)
	ORDER BY sha256(body)
	ON CONFLICT (sha256(body)) WHERE settled_at IS NULL
		DO UPDATE SET reason = EXCLUDED.reason, detail = EXCLUDED.detail
		WHERE (quarantine.reason, quarantine.detail) IS DISTINCT FROM (EXCLUDED.reason, EXCLUDED.detail)
	RETURNING length(body)
)
SELECT number, 0 AS length FROM erased UNION ALL SELECT 0, length FROM kept`

// maxSuspects bounds what one statement has to look up: so many bodies, with
// all that they mention.
const maxSuspects = 50

// storeSuspects commits items to quarantine, as far as it has room.
func (w *Writer) storeSuspects(ctx context.Context, bad []suspect) error {
	bad, err := w.withinLimit(ctx, bad)
	if err != nil {
		return unavailable(fmt.Errorf("look into quarantine: %w", err))
	}
	for chunk := range slices.Chunk(bad, maxSuspects) {
		lengths, erased, err := w.db.insertSuspects(ctx, chunk)
		if err != nil {
			return unavailable(fmt.Errorf("insert quarantine: %w", err))
		}
		w.quarantine.grow(lengths)
		for i, b := range chunk {
			if erased[i] {
				b.job.results[b.item] = Erased
				w.metrics.erased.Inc()
				continue
			}
			b.job.results[b.item] = Quarantined
			w.metrics.quarantined.WithLabelValues(string(b.Reason)).Inc()
			w.log.Warn().Str("reason", string(b.Reason)).Str("detail", b.Detail).Int("bytes", len(b.Body)).Msg("item quarantined")
		}
	}
	return nil
}

// insertSuspects returns the lengths of the bodies that quarantine did not hold
// yet, and which items are erased, by index. A body whose reason changed counts
// as new too.
func (db *DB) insertSuspects(ctx context.Context, bad []suspect) (lengths []int64, erased map[int]bool, err error) {
	n := len(bad)
	received, oldest := make([]time.Time, n), make([]time.Time, n)
	source, reason, detail := make([]string, n), make([]string, n), make([]string, n)
	headers, body := make([][]byte, n), make([][]byte, n)
	var number []int32
	var mentioned []string
	for i, b := range bad {
		d := b.job.delivery
		received[i], source[i], reason[i] = d.ReceivedAt, string(d.Source), string(b.Reason)
		oldest[i] = d.ReceivedAt
		if r := b.response(); r != nil && !r.SentAt.IsZero() && r.SentAt.Before(oldest[i]) {
			oldest[i] = r.SentAt
		}
		detail[i], headers[i] = b.Detail, headersJSON(d)
		body[i] = append([]byte{}, b.Body...) // never nil, which would be null: a body can be empty
		for _, id := range mentions(b.Body) {
			number, mentioned = append(number, int32(i+1)), append(mentioned, id)
		}
	}
	err = db.twice(ctx, func(conn *pgx.Conn) error {
		lengths, erased = nil, map[int]bool{}
		rows, _ := conn.Query(ctx, insertQuarantineSQL, received, source, reason, detail, headers, body, number, mentioned, oldest) // ForEachRow returns the error
		var left int
		var length int64
		_, err := pgx.ForEachRow(rows, []any{&left, &length}, func() error {
			if left > 0 {
				erased[left-1] = true
			} else {
				lengths = append(lengths, length)
			}
			return nil
		})
		return err
	})
	return lengths, erased, err
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
