package store

import (
	"time"

	"flowkeep/internal/flowparse"
)

// responseColumns lays rows out as one array for each column of
// insertResponsesSQL, in its order.
func responseColumns(rows []entry) []any {
	n := len(rows)
	texts := make([][]*string, 15) // message_id … idempotency_key but for response
	for i := range texts {
		texts[i] = make([]*string, n)
	}
	answers, raw := make([][]byte, n), make([][]byte, n)
	sentAt, receivedAt := make([]*time.Time, n), make([]time.Time, n)
	for i, e := range rows {
		d, r := e.job.delivery, e.response()
		for c, text := range [...]*string{
			&r.MessageID, r.FlowToken, (*string)(&r.TokenKind), orNull(&r.FlowID),
			orNull((*string)(&r.FlowIDSource)), orNull(&r.FlowName), (*string)(&r.Status),
			orNull(&r.PhoneNumberID), orNull(&r.WaID), orNull(&r.UserID), orNull(&r.ContactName),
			orNull(&r.ConversationID), orNull(&r.ContextMessageID), (*string)(&d.Source), orNull(&d.IdempotencyKey),
		} {
			texts[c][i] = text
		}
		answers[i], raw[i], receivedAt[i] = r.Answers, r.Raw, d.ReceivedAt
		if !r.SentAt.IsZero() {
			sentAt[i] = &r.SentAt
		}
	}
	args := make([]any, 0, 19)
	for c, column := range texts {
		if c == 6 {
			args = append(args, answers)
		}
		args = append(args, column)
	}
	return append(args, raw, sentAt, receivedAt)
}

// orNull turns the empty string, by which flowparse says "unknown", into null.
func orNull(s *string) *string {
	if *s == "" {
		return nil
	}
	return s
}

// suspect is an item for quarantine, and the entry whose fate it is.
type suspect struct {
	entry
	flowparse.Reject
}
