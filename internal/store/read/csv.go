package read

import (
	"bufio"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// plainColumns are exported where there is no typed view, as in flows.unlinked.
const plainColumns = `message_id, wa_id, contact_name, flow_token, sent_at, received_at, stored_at, token_kind, flow_id, response`

// CSV writes a table as spreadsheets want it: UTF-8 with a byte order mark, CRLF,
// a header; dates as YYYY-MM-DD, times as YYYY-MM-DD HH:MM:SS in UTC, lists
// joined with a comma, null as an empty cell. The columns are those of the flow's
// typed view; without one, the person, the token, the times, and the answers as
// JSON. No cell can be taken for a formula, unless RawCells is set. Order, memory
// and errors are those of NDJSON.
func (r *Reader) CSV(ctx context.Context, w io.Writer, e *Export) error {
	return r.export(ctx, w, func(ctx context.Context, tx pgx.Tx, out *bufio.Writer) error {
		sql, args, err := tableSQL(ctx, tx, e)
		if err != nil {
			return err
		}
		if _, err := out.WriteString("\ufeff"); err != nil {
			return err
		}
		table := &table{csv: csv.NewWriter(out), types: pgtype.NewMap(), raw: e.RawCells}
		table.csv.UseCRLF = true
		rows, err := tx.Query(ctx, sql, append([]any{pgx.QueryResultFormats{pgx.TextFormatCode}}, args...)...)
		if err := e.each(rows, err, table.header, table.row); err != nil {
			return err
		}
		table.csv.Flush()
		return table.csv.Error()
	})
}

// tableSQL selects what becomes a table. A view's columns are whatever the view
// has: they follow the flow's form.
func tableSQL(ctx context.Context, tx pgx.Tx, e *Export) (sql string, args []any, err error) {
	columns, from := plainColumns, "flow_responses"
	var where conditions
	if e.Flow != "" {
		id, view, err := findFlow(ctx, tx, e.Flow)
		if err != nil {
			return "", nil, err
		}
		if view != "" {
			columns, from = "*", pgx.Identifier{"flows", view}.Sanitize()
		} else {
			where.add("flow_id = ?", id)
		}
	}
	where.span(timeline(e.Flow == ""), e.Since, e.Until)
	return "SELECT " + columns + " FROM " + from + where.sql(), where.args, nil
}

// table writes rows of Postgres's text as CSV.
type table struct {
	csv    *csv.Writer
	types  *pgtype.Map
	fields []pgconn.FieldDescription
	cells  []string
	raw    bool
}

func (t *table) header(fields []pgconn.FieldDescription) error {
	// The rows reuse what they describe themselves with.
	t.fields = append(t.fields, fields...)
	t.cells = make([]string, len(fields))
	for i, f := range fields {
		t.cells[i] = t.safe(f.Name)
	}
	return t.csv.Write(t.cells)
}

func (t *table) row(values [][]byte) error {
	for i, value := range values {
		var err error
		if t.cells[i], err = t.cell(t.fields[i].DataTypeOID, value); err != nil {
			return fmt.Errorf("read the column %q: %w", t.fields[i].Name, err)
		}
	}
	return t.csv.Write(t.cells)
}

// cell returns a value as a spreadsheet reads it.
func (t *table) cell(oid uint32, value []byte) (string, error) {
	if value == nil {
		return "", nil
	}
	switch s := string(value); oid {
	case pgtype.BoolOID:
		if s == "t" {
			return "TRUE", nil
		}
		return "FALSE", nil
	case pgtype.TimestamptzOID: // 2026-01-31 12:00:00.123456+00
		s, _, _ = strings.Cut(strings.TrimSuffix(s, "+00"), ".")
		return s, nil
	case pgtype.NumericOID, pgtype.DateOID:
		return s, nil
	case pgtype.TextArrayOID:
		var list []string
		if err := t.types.Scan(oid, pgx.TextFormatCode, value, &list); err != nil {
			return "", err
		}
		return t.safe(strings.Join(list, ", ")), nil
	default:
		return t.safe(s), nil
	}
}

func (t *table) safe(s string) string {
	if t.raw {
		return s
	}
	return defuse(s)
}

// defuse returns a cell that no spreadsheet takes for a formula: what could be
// one gets an apostrophe in front. So does what follows a line end, a tab or a
// semicolon: a spreadsheet that takes another separator than the comma, as many
// countries' do, begins a new cell there. Control characters become U+FFFD, but
// for line ends and tabs inside of the text.
func defuse(s string) string {
	var safe strings.Builder
	s = strings.ReplaceAll(s, "\r\n", "\n")
	for {
		end := strings.IndexAny(s, "\n\t;") + 1
		if end == 0 {
			end = len(s)
		}
		first, _ := utf8.DecodeRuneInString(strings.TrimLeftFunc(s[:end], isInvisible))
		if safe.Len() == 0 && unicode.IsControl(first) || strings.ContainsRune("=+-@＝＋－＠", first) {
			safe.WriteByte('\'')
		}
		safe.WriteString(strings.Map(printable, s[:end]))
		if s = s[end:]; s == "" {
			return safe.String()
		}
	}
}

func printable(r rune) rune {
	if unicode.IsControl(r) && r != '\n' && r != '\t' {
		return unicode.ReplacementChar
	}
	return r
}

// isInvisible tells what a spreadsheet may drop from the beginning of a cell.
func isInvisible(r rune) bool { return unicode.In(r, unicode.Zs, unicode.Cf) }
