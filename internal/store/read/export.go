package read

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"flowkeep/internal/store"
)

// Export is what to hand out, and how far that is. It is used once.
type Export struct {
	Flow     string    // its id, or the name of its view; empty for every response
	Since    time.Time // by stored_at, from Since on …
	Until    time.Time // … and before Until; the zero time is no bound
	RawCells bool      // CSV: leave cells that a spreadsheet would run

	rows atomic.Int64
}

// Rows returns how many rows were written so far. It may be called meanwhile.
func (e *Export) Rows() int64 { return e.rows.Load() }

const exportBuffer = 64 << 10

// NDJSON writes each response as a line of JSON, in no particular order. It
// holds one row in memory. It returns ErrNotFound for an unknown flow, an error
// of store.Unavailable, or what w returned.
func (r *Reader) NDJSON(ctx context.Context, w io.Writer, e *Export) error {
	return r.export(ctx, w, func(ctx context.Context, tx pgx.Tx, out *bufio.Writer) error {
		members := responseMembers()
		var where conditions
		if e.Flow != "" {
			id, _, err := findFlow(ctx, tx, e.Flow)
			if err != nil {
				return err
			}
			where.add("flow_id = ?", id)
		}
		where.span(timeline(e.Flow == ""), e.Since, e.Until)
		var line []byte
		rows, err := tx.Query(ctx, `SELECT `+responseColumns+` FROM flow_responses`+where.sql(),
			append([]any{formats(members)}, where.args...)...)
		return e.each(rows, err, nil, func(values [][]byte) error {
			line = append(appendObject(line[:0], members, values), '\n')
			_, err := out.Write(line)
			return err
		})
	})
}

// export runs work in a transaction without a limit of time. Whatever ends it
// early closes the session: nobody reads the rest of ten million rows.
func (r *Reader) export(ctx context.Context, w io.Writer, work func(context.Context, pgx.Tx, *bufio.Writer) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tx, err := r.begin(ctx, 0)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(writer{w, cancel}, exportBuffer)
	if err = work(ctx, tx, out); err == nil {
		err = out.Flush()
	}
	cancel()
	_ = tx.Rollback(ctx) // the session is closed
	return err
}

// writer notes the first fault of w by ending the query behind it.
type writer struct {
	io.Writer
	cancel context.CancelFunc
}

func (w writer) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	if err != nil {
		w.cancel()
		err = fmt.Errorf("write: %w", err)
	}
	return n, err
}

// each hands every row to do, after the columns to begin unless that is nil.
func (e *Export) each(rows pgx.Rows, err error, begin func([]pgconn.FieldDescription) error, do func(values [][]byte) error) error {
	if err != nil {
		return fmt.Errorf("read responses: %w", store.Unavailable(err))
	}
	defer rows.Close()
	if begin != nil {
		if err := begin(rows.FieldDescriptions()); err != nil {
			return err
		}
	}
	for rows.Next() {
		if err := do(rows.RawValues()); err != nil {
			return err
		}
		e.rows.Add(1)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read responses: %w", store.Unavailable(err))
	}
	return nil
}

// conditions are the parts of a WHERE clause with their arguments.
type conditions struct {
	parts []string
	args  []any
}

// add takes a condition with a ? for each of its arguments.
func (c *conditions) add(part string, args ...any) {
	for _, arg := range args {
		c.args = append(c.args, arg)
		part = strings.Replace(part, "?", fmt.Sprintf("$%d", len(c.args)), 1)
	}
	c.parts = append(c.parts, part)
}

// span takes the bounds that are not zero.
func (c *conditions) span(by axis, since, until time.Time) {
	if !since.IsZero() {
		c.add(by.column+" >= "+by.value, since)
	}
	if !until.IsZero() {
		c.add(by.column+" < "+by.value, until)
	}
}

// axis is stored_at in the form of which there is an index, and a value on it.
type axis struct{ column, value string }

// timeline returns the axis of all responses, or that of a flow or a person.
func timeline(all bool) axis {
	if all {
		return axis{"(stored_at AT TIME ZONE 'UTC')", "(?::timestamptz AT TIME ZONE 'UTC')"}
	}
	return axis{"stored_at", "?::timestamptz"}
}

func (c *conditions) sql() string {
	if len(c.parts) == 0 {
		return ""
	}
	return "\nWHERE " + strings.Join(c.parts, " AND ")
}

const findFlowSQL = `
SELECT id, view FROM (
	SELECT id, CASE WHEN to_regclass('flows.' || quote_ident(view)) IS NOT NULL THEN view END AS view
	FROM flow_catalog WHERE id = $1 OR name = $1 OR view = $1
	UNION ALL
	SELECT $1, NULL WHERE EXISTS (SELECT FROM flow_responses WHERE flow_id = $1)
) AS found
ORDER BY id = $1 DESC, view
LIMIT 1`

// findFlow returns the id of a flow and its view, which is empty if it has none.
// The flow is given by its id, or by the name of its view.
func findFlow(ctx context.Context, tx pgx.Tx, name string) (id, view string, err error) {
	var found *string // view
	err = tx.QueryRow(ctx, findFlowSQL, name).Scan(&id, &found)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", "", fmt.Errorf("%w: no flow has this id or name; \"flowkeep flows\" lists them", ErrNotFound)
	}
	if err != nil {
		return "", "", fmt.Errorf("find the flow: %w", store.Unavailable(err))
	}
	if found != nil {
		view = *found
	}
	return id, view, nil
}
