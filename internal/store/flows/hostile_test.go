package flows_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

func hostileKeys() []string {
	long := strings.Repeat("ключ", 50) // 200 characters, 400 bytes
	keys := []string{
		`a"b`, `a'b`, `a\b`, `\'; DROP TABLE flow_responses; --`, `"; DROP TABLE flow_responses; --`, `$$`, `$1`, `%s`, `{}`, `E'x'`,
		" ", "a b", "\t", "\n", "\x01", "\x7f", "\u202e", "\ufffd", "🌻", "clé à vélo", "",
		"message_id", "wa_id", "stored_at", "select", "from", "order", "user", "xmin", "ctid", "oid", "tableoid", "response",
		"empty_key", "a", "A", "a_2", long, long + "1", long + "2", long[:63], long[:62], strings.Repeat("x", 200), strings.Repeat("x", 63), strings.Repeat("x", 64),
		strings.Repeat("x", 61) + "_2", "0", "-1", "null", "a.b$c", "/* */", "--",
	}
	return keys
}

func TestView_KeysOfOthersBreakNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var answer strings.Builder
	keys := hostileKeys()
	seen := map[string]bool{}
	count := 0
	for i, k := range keys {
		k = strings.ToValidUTF8(k, "�")
		if seen[k] {
			continue
		}
		seen[k] = true
		text, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&answer, ",%s:%d", text, i)
		count++
	}
	d.store(flowID, "{"+answer.String()[1:]+"}")
	d.sync()
	rows, err := d.conn.Query(t.Context(), "SELECT * FROM flows."+view)
	if err != nil {
		t.Fatal(err)
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
	if err != nil {
		t.Fatal(err)
	}
	if len(row) != 7+count {
		t.Errorf("%d columns, want %d", len(row), 7+count)
	}
	mismatch := d.text(`SELECT count(*) FROM flow_catalog, unnest(keys, columns) AS c(k, col), flows.` + view + ` v, flow_responses r
		WHERE to_jsonb(v) -> col IS DISTINCT FROM r.response -> k OR col_description('flows.` + view + `'::regclass,
			(SELECT attnum FROM pg_attribute WHERE attrelid = 'flows.` + view + `'::regclass AND attname = col)) IS DISTINCT FROM nullif(k, '')`)
	if mismatch != "0" {
		t.Errorf("%s keys read wrong", mismatch)
	}
	if got := d.text(`SELECT count(*) FROM flow_responses`); got != "1" {
		t.Error(got)
	}
}

func TestView_IDsOfOthersBreakNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	long := strings.Repeat("1", 80)
	ids := []string{`a'b"c\`, long, long + "2", " ", "unlinked", "\n"}
	for _, id := range ids {
		d.store(id, `{"a":1}`)
	}
	d.sync()
	if got := d.text(`SELECT count(*) FROM flow_catalog JOIN pg_class ON relname = view AND relkind = 'v' WHERE types = '{numeric}'`); got != fmt.Sprint(len(ids)) {
		t.Errorf("%s views", got)
	}
	if got := d.text(`SELECT count(*) FROM flows.unlinked`); got != "0" {
		t.Errorf("%s unlinked", got)
	}
}

// No value makes a query fail, and what the catalog takes for fitting is shown.
func TestView_NoValueMakesAQueryFail(t *testing.T) {
	t.Parallel()
	values := []string{
		`null`, `true`, `false`, `0`, `-1.5e300`, `1e-300`, `12345678901234567890123`, `""`, `" "`, `"true"`, `"TRUE"`, `"t"`, `"1"`, `"-1"`, `"+1"`, `"1."`, `".5"`, `"1.5"`, `"1e5"`,
		`"NaN"`, `"Infinity"`, `"infinity"`, `"now"`, `"today"`, `"epoch"`, `"` + strings.Repeat("9", 50) + `"`, `"` + strings.Repeat("9", 51) + `"`, `"0.` + strings.Repeat("9", 51) + `"`,
		`"2024-02-29"`, `"2023-02-29"`, `"1900-02-29"`, `"2000-02-29"`, `"2024-04-31"`, `"2024-13-01"`, `"2024-00-10"`, `"0000-01-01"`, `"0001-01-01"`, `"9999-12-31"`, `"24-01-01"`, `"2024-1-1"`,
		`"2024-01-01\n"`, `"\n2024-01-01"`, `"2024-01-01 "`, `"٢٠٢٤-٠١-٠١"`, `"1703257240046"`, `"99999999999999"`, `"-99999999999999"`, `"999999999999999"`, `"-0"`, `"--1"`, `"-"`,
		`"2026-03-01T10:00"`, `"2026-03-01 10:00:59.123456789"`, `"2026-03-01T23:59:59.9999999Z"`, `"2026-03-01T24:00Z"`, `"2026-03-01T10:60Z"`, `"2026-03-01T10:00+14:59"`, `"2026-03-01T10:00-0330"`,
		`"2026-02-30T10:00Z"`, `"0001-01-01T00:00+14:59"`, `"9999-12-31T23:59:59.9999999-14:59"`, `"2026-03-01T10:00:00Z\n"`, `"2026-03-01T10:00:60Z"`, `"2026-03-01t10:00Z"`,
		`[]`, `["a"]`, `["a",null]`, `[["a"]]`, `[1]`, `{}`, `{"a":["b"]}`, `["a",["b"]]`, `[""]`, `"` + strings.Repeat("2", 200) + `"`,
	}
	types := []string{"boolean", "numeric", "date", "timestamptz", "text[]", "jsonb", "text"}
	d := newDesk(t)
	for i, v := range values {
		id := fmt.Sprintf("%016d", i)
		d.store(id, `{"k":`+v+`}`)
	}
	d.sync()
	for i, v := range values {
		id := fmt.Sprintf("%016d", i)
		for _, columnType := range types {
			err := d.keeper.Retype(t.Context(), id, "k", columnType)
			cast := map[string]string{"boolean": "as_boolean", "numeric": "as_numeric", "date": "as_date", "timestamptz": "as_timestamptz", "text[]": "as_texts"}[columnType]
			if cast == "" {
				cast = "as_text"
			}
			shown := v != "null"
			if cast != "as_text" {
				shown = d.text(`SELECT flows.`+cast+`($1::jsonb) IS NOT NULL`, v) == "true"
			}
			if fits := err == nil; fits != shown && v != "null" {
				t.Errorf("%s as %s: taken for fitting: %v, shown: %v", v, columnType, fits, shown)
			}
			d.text(`SELECT k FROM flows.flow_` + id)
		}
	}
	if diff := cmp.Diff("2026-03-01 13:30:00", d.text(`SELECT flows.as_timestamptz('"2026-03-01T10:00-0330"') AT TIME ZONE 'UTC'`)); diff != "" {
		t.Error(diff)
	}
}
