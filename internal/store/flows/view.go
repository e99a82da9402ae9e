package flows

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// column is one column of a view.
type column struct{ name, columnType string }

// columnsSQL reads a view's columns after the fixed ones as they are; no row if
// there is no such view.
const columnsSQL = `
SELECT a.attname, CASE a.atttypid WHEN 'timestamptz'::regtype THEN 'timestamptz' ELSE format_type(a.atttypid, a.atttypmod) END
FROM pg_attribute a
WHERE a.attrelid = to_regclass('flows.' || quote_ident($1)) AND a.attnum > 0
ORDER BY a.attnum`

func readColumns(ctx context.Context, tx pgx.Tx, view string) ([]column, error) {
	rows, _ := tx.Query(ctx, columnsSQL, view)
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (c column, err error) {
		err = r.Scan(&c.name, &c.columnType)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("read a view's columns: %w", err)
	}
	return list, nil
}

// fixedTypes are the columns that come first in every view.
func fixedTypes() (list []column) {
	for _, name := range fixedColumns() {
		c := column{name, typeText}
		if strings.HasSuffix(name, "_at") {
			c.columnType = typeTimestamp
		}
		list = append(list, c)
	}
	return list
}

// shape brings the flow's view to what its keys want, and notes in the keys
// what it is then. Where something depends on the view, columns are only
// appended: blocked tells what is in the way of another type.
func (f *flow) shape(ctx context.Context, tx pgx.Tx) (blocked []string, err error) {
	is, err := readColumns(ctx, tx, f.view)
	if err != nil {
		return nil, err
	}
	wanted := fixedTypes()
	for i := range f.state.Keys {
		k := &f.state.Keys[i]
		wanted = append(wanted, column{k.Column, k.bestType(f.state.Chosen[k.Key])})
	}
	drop := len(is) > 0 && !startsWith(wanted, is)
	if drop {
		if blocked, err = dependents(ctx, tx, f.view); err != nil {
			return nil, err
		}
		if len(blocked) > 0 {
			drop = false
			keepTypes(wanted, is)
		}
	}
	if drop || len(is) < len(wanted) {
		if err := f.define(ctx, tx, wanted, drop); err != nil {
			return nil, err
		}
	}
	for i := range f.state.Keys {
		k := &f.state.Keys[i]
		if t := wanted[len(fixedColumns())+i].columnType; t != k.Type {
			k.Type, k.Misfits = t, 0
		}
	}
	return blocked, nil
}

func startsWith(list, start []column) bool {
	return len(start) <= len(list) && slices.Equal(list[:len(start)], start)
}

// keepTypes gives columns that are there the types that they have.
func keepTypes(wanted, is []column) {
	for i := range wanted {
		if j := slices.IndexFunc(is, func(c column) bool { return c.name == wanted[i].name }); j >= 0 {
			wanted[i].columnType = is[j].columnType
		}
	}
}

// define makes the view, after dropping it if drop is set. Who could read it
// before can do so afterwards; a new one can be read by flowkeep's readers.
func (f *flow) define(ctx context.Context, tx pgx.Tx, columns []column, drop bool) error {
	view := "flows." + quoteName(f.view)
	var sql strings.Builder
	grants, err := readGrants(ctx, tx, f.view)
	if err != nil {
		return err
	}
	if drop {
		sql.WriteString("DROP VIEW " + view + ";\n")
	}
	f.writeView(&sql, view, columns)
	sql.WriteString(strings.Join(grants, ";\n"))
	if _, err := tx.Exec(ctx, sql.String(), pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("make a view: %w", err)
	}
	return nil
}

func (f *flow) writeView(sql *strings.Builder, view string, columns []column) {
	sql.WriteString("CREATE OR REPLACE VIEW " + view + " AS\nSELECT " + strings.Join(fixedColumns(), ", "))
	answers := columns[len(fixedColumns()):]
	for i, c := range answers {
		sql.WriteString(",\n\t" + expression(f.state.Keys[i].Key, c.columnType) + " AS " + quoteName(c.name))
	}
	sql.WriteString("\nFROM flow_responses\nWHERE flow_id = " + quoteText(f.id) + ";\n")
	sql.WriteString("COMMENT ON VIEW " + view + " IS " + quoteText("The answers of flow "+f.id+", made by flowkeep.") + ";\n")
	for i, c := range answers {
		sql.WriteString("COMMENT ON COLUMN " + view + "." + quoteName(c.name) + " IS " + quoteText(f.state.Keys[i].Key) + ";\n")
	}
}

// expression reads a key as a type. None of them can fail.
func expression(key, columnType string) string {
	value := "response -> " + quoteText(key)
	switch columnType {
	case typeBoolean:
		return "flows.as_boolean(" + value + ")"
	case typeNumeric:
		return "flows.as_numeric(" + value + ")"
	case typeDate:
		return "flows.as_date(" + value + ")"
	case typeTimestamp:
		return "flows.as_timestamptz(" + value + ")"
	case typeTexts:
		return "flows.as_texts(" + value + ")"
	case typeJSON:
		return "nullif(" + value + ", 'null')"
	}
	return "response ->> " + quoteText(key)
}
