package read

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/store"
)

// ErrCursor means that Query.After is no cursor that a Page had as its Next.
var ErrCursor = errors.New("not a cursor")

// A page ends at its limit, or after so many bytes, whichever comes first. It has
// one response at least.
const (
	MaxPageRows  = 1000
	maxPageBytes = 1 << 20
)

// Query chooses responses. Empty fields choose nothing away.
type Query struct {
	FlowID      string
	FlowToken   string // a custom token, or a flow's id that was sent as the token
	WaID        string
	UserID      string
	Since       time.Time // by stored_at, from Since on …
	Until       time.Time // … and before Until
	OldestFirst bool      // by stored_at; otherwise the newest come first
	Limit       int       // 1 to MaxPageRows
	After       string    // Next of the page before; empty for the first
}

// Page is a part of what a Query chooses.
type Page struct {
	Responses [][]byte // JSON objects
	Next      string   // the cursor of the next page; empty if this is the last
}

// Page returns the responses behind q.After. It returns ErrCursor, or an error
// of store.Unavailable.
func (r *Reader) Page(ctx context.Context, q Query) (Page, error) {
	sql, args, err := q.sql()
	if err != nil {
		return Page{}, err
	}
	tx, err := r.begin(ctx, pageTimeout)
	if err != nil {
		return Page{}, err
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing to undo
	members := responseMembers()
	rows, err := tx.Query(ctx, sql, append([]any{formats(members)}, args...)...)
	if err != nil {
		return Page{}, fmt.Errorf("read a page: %w", store.Unavailable(err))
	}
	defer rows.Close()
	var p Page
	var size int
	var last string
	for rows.Next() {
		if len(p.Responses) == q.Limit || size >= maxPageBytes {
			p.Next = last
			break
		}
		values := rows.RawValues()
		object := appendObject(nil, members, values)
		p.Responses, size = append(p.Responses, object), size+len(object)
		last = cursor(values[len(values)-1], values[0])
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return Page{}, fmt.Errorf("read a page: %w", store.Unavailable(err))
	}
	return p, nil
}

// Branches of the condition for a token: each has an index of its own.
const (
	byCustomSQL = `token_kind = 'custom' AND left(flow_token, 200) = left(%[1]s::text, 200) AND flow_token = %[1]s`
	byFlowSQL   = `token_kind = 'flow_id' AND flow_id = %[1]s AND flow_token = %[1]s`
)

// sql selects one row more than the page has, in the order of the page.
func (q *Query) sql() (sql string, args []any, err error) {
	var where conditions
	for _, c := range [][2]string{{"flow_id = ?", q.FlowID}, {"wa_id = ?", q.WaID}, {"user_id = ?", q.UserID}} {
		if c[1] != "" {
			where.add(c[0], c[1])
		}
	}
	by := timeline(len(where.parts) == 0 && q.FlowToken == "")
	where.span(by, q.Since, q.Until)
	direction, compare := "DESC", "<"
	if q.OldestFirst {
		direction, compare = "ASC", ">"
	}
	if q.After != "" {
		at, id, err := readCursor(q.After)
		if err != nil {
			return "", nil, err
		}
		// The first condition is for the index, which does not hold the id.
		where.add(by.column+compare+"="+by.value, at)
		where.add("("+by.column+", message_id) "+compare+" ("+by.value+", ?)", at, id)
	}
	order := fmt.Sprintf("\nORDER BY %s %[2]s, message_id %[2]s LIMIT %[3]d", by.column, direction, q.Limit+1)
	if q.FlowToken == "" {
		return "SELECT " + responseColumns + " FROM flow_responses" + where.sql() + order, where.args, nil
	}
	where.args = append(where.args, q.FlowToken)
	token := fmt.Sprintf("$%d", len(where.args))
	var branches []string
	for _, branch := range []string{byCustomSQL, byFlowSQL} {
		own := conditions{parts: append([]string{fmt.Sprintf(branch, token)}, where.parts...)}
		branches = append(branches, "(SELECT "+responseColumns+" FROM flow_responses"+own.sql()+order+")")
	}
	return strings.Join(branches, "\nUNION ALL\n") + order, where.args, nil
}

const oneSQL = `SELECT ` + responseColumns + ` FROM flow_responses WHERE message_id = $1`

// One returns a response's JSON object. It returns ErrNotFound, or an error that
// is of store.Unavailable.
func (r *Reader) One(ctx context.Context, messageID string) ([]byte, error) {
	tx, err := r.begin(ctx, pageTimeout)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing to undo
	members := responseMembers()
	rows, _ := tx.Query(ctx, oneSQL, formats(members), messageID)
	object, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) ([]byte, error) {
		return appendObject(nil, members, row.RawValues()), nil
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("%w: no response has this message_id", ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read a response: %w", store.Unavailable(err))
	}
	return object, nil
}

// cursor is the place of a row in the order: stored_at in its binary form, and
// the id.
func cursor(storedAt, messageID []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(append([]byte{}, storedAt...), messageID...))
}

func readCursor(text string) (at time.Time, messageID string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	const timeBytes = 8
	if err != nil || len(b) <= timeBytes {
		return at, "", ErrCursor
	}
	// As far as a timestamptz goes in Go's time: some 290 years around 2000.
	const farthest = 9e15
	if micros := int64(binary.BigEndian.Uint64(b)); micros > farthest || micros < -farthest { //nolint:gosec // two's complement
		return at, "", ErrCursor
	}
	messageID = string(b[timeBytes:])
	if !utf8.ValidString(messageID) || strings.Contains(messageID, "\x00") {
		return at, "", ErrCursor
	}
	return instantOf(b[:timeBytes]), messageID, nil
}
