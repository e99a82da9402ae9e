package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/flowparse"
)

// fillResponsesSQL adds what rows do not know yet. No value that is there
// changes, but for token_kind, which goes with the token, and flow_id_source,
// which goes with the flow's id.
const fillResponsesSQL = `
UPDATE flow_responses AS r SET
	flow_token = coalesce(r.flow_token, f.flow_token),
	token_kind = CASE WHEN r.flow_token IS NULL AND f.flow_token IS NOT NULL THEN f.token_kind ELSE r.token_kind END,
	flow_id = coalesce(r.flow_id, f.flow_id),
	flow_id_source = CASE WHEN r.flow_id IS NULL THEN f.flow_id_source ELSE r.flow_id_source END,
	flow_name = coalesce(r.flow_name, f.flow_name),
	phone_number_id = coalesce(r.phone_number_id, f.phone_number_id),
	wa_id = coalesce(r.wa_id, f.wa_id),
	user_id = coalesce(r.user_id, f.user_id),
	contact_name = coalesce(r.contact_name, f.contact_name),
	conversation_id = coalesce(r.conversation_id, f.conversation_id),
	context_message_id = coalesce(r.context_message_id, f.context_message_id),
	sent_at = coalesce(r.sent_at, f.sent_at)
FROM unnest(
	$1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
	$8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[])
	AS f (message_id, flow_token, token_kind, flow_id, flow_id_source, flow_name, phone_number_id,
		wa_id, user_id, contact_name, conversation_id, context_message_id, sent_at)
WHERE r.message_id = f.message_id
	AND (r.flow_token IS NULL AND f.flow_token IS NOT NULL
		OR r.flow_id IS NULL AND f.flow_id IS NOT NULL
		OR r.flow_name IS NULL AND f.flow_name IS NOT NULL
		OR r.phone_number_id IS NULL AND f.phone_number_id IS NOT NULL
		OR r.wa_id IS NULL AND f.wa_id IS NOT NULL
		OR r.user_id IS NULL AND f.user_id IS NOT NULL
		OR r.contact_name IS NULL AND f.contact_name IS NOT NULL
		OR r.conversation_id IS NULL AND f.conversation_id IS NOT NULL
		OR r.context_message_id IS NULL AND f.context_message_id IS NOT NULL
		OR r.sent_at IS NULL AND f.sent_at IS NOT NULL)`

// FillNulls completes rows that are stored with what the same responses, seen
// once more, say. Answers, raw bytes and times of arrival stay. The error wraps
// ErrUnavailable.
func (db *DB) FillNulls(ctx context.Context, responses []flowparse.Response) error {
	if len(responses) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	text := func(of func(*flowparse.Response) string) []*string {
		list := make([]*string, len(responses))
		for i := range responses {
			if s := of(&responses[i]); s != "" {
				list[i] = &s
			}
		}
		return list
	}
	token, sentAt := make([]*string, len(responses)), make([]any, len(responses))
	for i := range responses {
		token[i] = responses[i].FlowToken
		if !responses[i].SentAt.IsZero() {
			sentAt[i] = responses[i].SentAt
		}
	}
	err := db.twice(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fillResponsesSQL,
			text(func(r *flowparse.Response) string { return r.MessageID }), token,
			text(func(r *flowparse.Response) string { return string(r.TokenKind) }),
			text(func(r *flowparse.Response) string { return r.FlowID }),
			text(func(r *flowparse.Response) string { return string(r.FlowIDSource) }),
			text(func(r *flowparse.Response) string { return r.FlowName }),
			text(func(r *flowparse.Response) string { return r.PhoneNumberID }),
			text(func(r *flowparse.Response) string { return r.WaID }),
			text(func(r *flowparse.Response) string { return r.UserID }),
			text(func(r *flowparse.Response) string { return r.ContactName }),
			text(func(r *flowparse.Response) string { return r.ConversationID }),
			text(func(r *flowparse.Response) string { return r.ContextMessageID }), sentAt)
		return err
	})
	if err != nil {
		return unavailable(fmt.Errorf("fill nulls: %w", err))
	}
	return nil
}
