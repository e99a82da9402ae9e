package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"flowkeep/internal/flowparse"
)

// insertResponsesSQL stores new rows and returns their keys and flows. The
// conflict clause changes nothing, but locks the old row, so that a duplicate is
// reported only once the first copy is as durable as a new row would be
// (postgres-at-scale.md, section a). It needs each key once. What is erased is
// left out: the batch is asked for once, and only if anything is erased. Who
// registers no sends does not pay for the look into the register either.
const insertResponsesSQL = `
INSERT INTO flow_responses (` + responseNames + `)
SELECT item.message_id, item.flow_token,
	coalesce(linked.token_kind, item.token_kind), coalesce(linked.flow_id, item.flow_id),
	coalesce(linked.flow_id_source, item.flow_id_source), item.flow_name,
	item.response, item.response_status, item.phone_number_id, item.wa_id, item.user_id, item.contact_name,
	item.conversation_id, item.context_message_id, item.source, item.idempotency_key, item.raw, item.sent_at, item.received_at
FROM unnest(
	$1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
	$7::jsonb[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
	$13::text[], $14::text[], $15::text[], $16::text[], $17::bytea[], $18::timestamptz[], $19::timestamptz[])
	AS item (` + responseNames + `)
LEFT JOIN LATERAL (
	SELECT link.* FROM link_response(item.context_message_id, item.flow_token, item.token_kind, item.flow_id, item.flow_id_source) AS link
	WHERE (SELECT EXISTS (SELECT FROM flow_sends))
) AS linked ON true
WHERE CASE WHEN ` + hasErasuresSQL + ` THEN item.message_id <> ALL ((SELECT erased_among($1, $10, $11, $18, $19))::text[]) ELSE true END
ON CONFLICT (message_id) DO UPDATE SET message_id = EXCLUDED.message_id WHERE false
RETURNING message_id, flow_id`

// responseNames are the columns that a delivery fills, in the order of the
// statement's parameters.
const responseNames = `
	message_id, flow_token, token_kind, flow_id, flow_id_source, flow_name,
	response, response_status, phone_number_id, wa_id, user_id, contact_name,
	conversation_id, context_message_id, source, idempotency_key, raw, sent_at, received_at`

// insertStatement is the statement's name in a session that keeps it prepared.
const insertStatement = "flowkeep_insert_responses"

// insertRows sends one statement, once more if a session turned out to be dead
// or lost a race: the statement may be repeated at will. It returns the rows
// that are new, by key.
func (db *DB) insertRows(ctx context.Context, rows []entry) (stored []storedRow, err error) {
	params := responseColumns(rows)
	err = db.twice(ctx, func(conn *pgx.Conn) error {
		stored, err = runInsert(ctx, conn, params)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("insert batch: %w", err)
	}
	slices.SortFunc(stored, func(a, b storedRow) int { return cmp.Compare(a.messageID, b.messageID) }) // RETURNING promises no order
	return stored, nil
}

// storedRow is a row that is new, and the flow that it got; empty if none.
type storedRow struct{ messageID, flowID string }

// runInsert executes the statement as the connection string's
// default_query_exec_mode wants it: prepared once a session, or, for a pooler
// that does not know prepared statements, without a name each time.
func runInsert(ctx context.Context, conn *pgx.Conn, params [][]byte) (stored []storedRow, err error) {
	binary := []int16{pgx.BinaryFormatCode}
	var result *pgconn.ResultReader
	if conn.Config().DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		statement, err := conn.Prepare(ctx, insertStatement, insertResponsesSQL)
		if err != nil {
			return nil, err
		}
		result = conn.PgConn().ExecPrepared(ctx, statement.Name, params, binary, binary)
	} else {
		result = conn.PgConn().ExecParams(ctx, insertResponsesSQL, params, nil, binary, binary)
	}
	for result.NextRow() {
		stored = append(stored, storedRow{string(result.Values()[0]), string(result.Values()[1])})
	}
	_, err = result.Close()
	return stored, err
}

// shortText is the room that most texts of a row fit in.
const shortText = 32

// responseColumns lays rows out in the order of insertResponsesSQL.
func responseColumns(rows []entry) [][]byte {
	c := columns{rows: len(rows), values: make([][]byte, 0, 19)}
	c.texts(rows, func(r *flowparse.Response) string { return r.MessageID })
	token := c.array(pgtype.TextOID, shortText*c.rows)
	for _, e := range rows {
		if t := e.response().FlowToken; t == nil {
			token.null()
		} else {
			token.text(*t)
		}
	}
	c.add(token)
	c.texts(rows, func(r *flowparse.Response) string { return string(r.TokenKind) })
	c.texts(rows, func(r *flowparse.Response) string { return r.FlowID })
	c.texts(rows, func(r *flowparse.Response) string { return string(r.FlowIDSource) })
	c.texts(rows, func(r *flowparse.Response) string { return r.FlowName })
	answersSize, rawSize := 0, 0
	for _, e := range rows {
		answersSize += 1 + len(e.response().Answers)
		rawSize += len(e.response().Raw)
	}
	answers := c.array(pgtype.JSONBOID, answersSize)
	for _, e := range rows {
		answers.json(e.response().Answers)
	}
	c.add(answers)
	c.texts(rows, func(r *flowparse.Response) string { return string(r.Status) })
	c.texts(rows, func(r *flowparse.Response) string { return r.PhoneNumberID })
	c.texts(rows, func(r *flowparse.Response) string { return r.WaID })
	c.texts(rows, func(r *flowparse.Response) string { return r.UserID })
	c.texts(rows, func(r *flowparse.Response) string { return r.ContactName })
	c.texts(rows, func(r *flowparse.Response) string { return r.ConversationID })
	c.texts(rows, func(r *flowparse.Response) string { return r.ContextMessageID })
	source, key := c.array(pgtype.TextOID, shortText*c.rows), c.array(pgtype.TextOID, 2*shortText*c.rows)
	raw := c.array(pgtype.ByteaOID, rawSize)
	sentAt, receivedAt := c.array(pgtype.TimestamptzOID, 8*c.rows), c.array(pgtype.TimestamptzOID, 8*c.rows)
	for _, e := range rows {
		d, r := e.job.delivery, e.response()
		source.text(string(d.Source))
		key.textOrNull(d.IdempotencyKey)
		raw.blob(r.Raw)
		sentAt.timeOrNull(r.SentAt)
		receivedAt.timeOrNull(d.ReceivedAt)
	}
	for _, a := range []*column{source, key, raw, sentAt, receivedAt} {
		c.add(a)
	}
	return c.values
}

// texts adds a column of texts, in which the empty one is null.
func (c *columns) texts(rows []entry, of func(*flowparse.Response) string) {
	a := c.array(pgtype.TextOID, shortText*c.rows)
	for _, e := range rows {
		a.textOrNull(of(e.response()))
	}
	c.add(a)
}
