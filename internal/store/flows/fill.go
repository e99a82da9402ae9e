package flows

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store"
)

// fillSQL adds what rows do not know yet, in the order in which writers lock
// them. No value that is there changes, but for what a new value decides: the
// kind of a token, and the flow, if the register of sends knows it better. The
// parser's word for the flow counts only together with its token. What is erased
// is left alone.
const fillSQL = `
WITH filled AS (
	SELECT r.message_id, r.flow_id AS was,
		coalesce(r.flow_token, f.flow_token) AS flow_token,
		CASE WHEN r.flow_token IS NOT NULL OR f.flow_token IS NULL OR f.token_kind = 'none' THEN r.token_kind
			WHEN r.flow_id IS NULL THEN f.token_kind
			WHEN r.flow_id = f.flow_token THEN 'flow_id' ELSE 'custom' END AS token_kind,
		CASE WHEN r.flow_id IS NULL AND r.flow_token IS NULL THEN f.flow_id ELSE r.flow_id END AS flow_id,
		CASE WHEN r.flow_id IS NULL AND r.flow_token IS NULL THEN f.flow_id_source ELSE r.flow_id_source END AS flow_id_source,
		coalesce(r.flow_name, f.flow_name) AS flow_name,
		coalesce(r.phone_number_id, f.phone_number_id) AS phone_number_id,
		coalesce(r.wa_id, f.wa_id) AS wa_id,
		coalesce(r.user_id, f.user_id) AS user_id,
		coalesce(r.contact_name, f.contact_name) AS contact_name,
		coalesce(r.conversation_id, f.conversation_id) AS conversation_id,
		coalesce(r.context_message_id, f.context_message_id) AS context_message_id,
		coalesce(r.sent_at, f.sent_at) AS sent_at
	FROM unnest(
		$1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
		$8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[])
		AS f (message_id, flow_token, token_kind, flow_id, flow_id_source, flow_name, phone_number_id,
			wa_id, user_id, contact_name, conversation_id, context_message_id, sent_at)
	JOIN flow_responses AS r ON r.message_id = f.message_id
	WHERE (r.flow_token IS NULL AND (f.flow_token IS NOT NULL OR r.flow_id IS NULL AND f.flow_id IS NOT NULL)
			OR r.flow_name IS NULL AND f.flow_name IS NOT NULL
			OR r.phone_number_id IS NULL AND f.phone_number_id IS NOT NULL
			OR r.wa_id IS NULL AND f.wa_id IS NOT NULL
			OR r.user_id IS NULL AND f.user_id IS NOT NULL
			OR r.contact_name IS NULL AND f.contact_name IS NOT NULL
			OR r.conversation_id IS NULL AND f.conversation_id IS NOT NULL
			OR r.context_message_id IS NULL AND f.context_message_id IS NOT NULL
			OR r.sent_at IS NULL AND f.sent_at IS NOT NULL)
		AND CASE WHEN EXISTS (SELECT FROM erasures) THEN f.message_id <> ALL ((SELECT erased_among($1, $8, $9, $13, $13))::text[]) ELSE true END
	ORDER BY r.message_id FOR UPDATE OF r
)
UPDATE flow_responses AS r SET
	flow_token = filled.flow_token, token_kind = link.token_kind, flow_id = link.flow_id, flow_id_source = link.flow_id_source,
	flow_name = filled.flow_name, phone_number_id = filled.phone_number_id, wa_id = filled.wa_id, user_id = filled.user_id,
	contact_name = filled.contact_name, conversation_id = filled.conversation_id,
	context_message_id = filled.context_message_id, sent_at = filled.sent_at
FROM filled CROSS JOIN LATERAL link_response(filled.context_message_id, filled.flow_token, filled.token_kind, filled.flow_id, filled.flow_id_source) AS link
WHERE r.message_id = filled.message_id
RETURNING r.message_id, coalesce(filled.was, ''), coalesce(r.flow_id, '')`

// FillNulls completes responses that are stored with what the same responses,
// seen once more, say. Answers, raw bytes and times of arrival stay. A response
// that the database refuses for what is in it stays as it is, and the log says
// so. The error wraps store.ErrUnavailable.
func (k *Keeper) FillNulls(ctx context.Context, responses []flowparse.Response) error {
	if len(responses) == 0 {
		return nil
	}
	err := k.insist(ctx, func() error {
		return k.Move(ctx, func(tx pgx.Tx) ([]Moved, error) {
			rows, _ := tx.Query(ctx, fillSQL, fillColumns(responses)...) // CollectRows returns the error
			return pgx.CollectRows(rows, pgx.RowToStructByPos[Moved])
		})
	})
	half := len(responses) / 2
	switch {
	case err == nil:
		return nil
	case !store.IsRowFault(err):
		return fmt.Errorf("fill nulls: %w", store.Unavailable(err))
	case half == 0:
		k.log.Warn().Str("sqlstate", sqlState(err)).Msg("a stored response stays incomplete: the database refuses what is to be filled in")
		return nil
	}
	if err := k.FillNulls(ctx, responses[:half]); err != nil {
		return err
	}
	return k.FillNulls(ctx, responses[half:])
}

// fillColumns lays responses out in the order of fillSQL.
func fillColumns(responses []flowparse.Response) []any {
	text := func(of func(*flowparse.Response) string) []*string {
		list := make([]*string, len(responses))
		for i := range responses {
			if s := of(&responses[i]); s != "" {
				list[i] = &s
			}
		}
		return list
	}
	token, sentAt := make([]*string, len(responses)), make([]*time.Time, len(responses))
	for i := range responses {
		token[i] = responses[i].FlowToken
		if !responses[i].SentAt.IsZero() {
			sentAt[i] = &responses[i].SentAt
		}
	}
	return []any{
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
		text(func(r *flowparse.Response) string { return r.ContextMessageID }), sentAt,
	}
}
