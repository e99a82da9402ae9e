package read_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flowkeep/internal/store/read"
	"flowkeep/internal/store/storetest"
)

// hostileTexts are what people and programs put into answers.
func hostileTexts() []string {
	return []string{
		`\`, `\\`, `\.`, `\n`, `"`, `""`, `'`, ",", ";", "\n", "\r\n", "\r", "\t", "\x01", "\x02", "\x1f", "\x7f", "\u0080", "\u0085", "\u2028", "\u2029",
		"\ufeff", "\u202e", "🌻", "NULL", `\N`, "=1+1", "+1", "-1", "@SUM(A1)", "＝1", "＋1", "－1", "＠x", "\t=1", "\n=1", " =1", "\u00a0=1", "\u200b=1", "x;=1", "hello\n=1+1", "a; b;\u200b@x", "a\t-1", "", " ", "end",
	}
}

func TestNDJSON_IsTheWholeObject(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.store(row{id: "wamid.1", flow: flowID, answers: `{"n": 12345678901234567890.10, "a": [1, null]}`})
	want := `{"message_id":"wamid.1","flow_id":"1197715005513101","flow_id_source":null,"flow_name":null,"flow_token":"1197715005513101","token_kind":"flow_id",` +
		`"response":{"a": [1, null], "n": 12345678901234567890.10},"response_status":"ok","phone_number_id":null,"wa_id":"15551234567","user_id":null,` +
		`"contact_name":null,"conversation_id":null,"context_message_id":null,"source":"kapso","idempotency_key":null,` +
		`"sent_at":null,"received_at":"2026-01-01T12:00:00.123456Z","stored_at":"2026-01-01T12:00:00.123456Z"}` + "\n"
	e := &read.Export{}
	if diff := cmp.Diff(want, written(t, d.reader.NDJSON, e)); diff != "" || e.Rows() != 1 {
		t.Errorf("%d rows: %s", e.Rows(), diff)
	}
	if diff := cmp.Diff("", written(t, d.reader.NDJSON, &read.Export{Since: day(2)})); diff != "" {
		t.Error(diff)
	}
}

// Every column but raw is exported, also one that is added later.
func TestNDJSON_LeavesNoColumnOut(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.store(row{id: "1"})
	var object map[string]any
	if err := json.Unmarshal([]byte(written(t, d.reader.NDJSON, &read.Export{})), &object); err != nil {
		t.Fatal(err)
	}
	rows, err := d.conn.Query(t.Context(), `SELECT * FROM flow_responses`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for _, f := range rows.FieldDescriptions() {
		if _, has := object[f.Name]; has == (f.Name == "raw") {
			t.Errorf("column %s: in the export: %v", f.Name, has)
		}
	}
}

func TestNDJSON_TextsOfOthersBreakNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for i, text := range hostileTexts() {
		answers, err := json.Marshal(map[string]any{text: text, "list": []string{text}})
		if err != nil {
			t.Fatal(err)
		}
		d.store(row{id: fmt.Sprintf("%03d %s", i, text), token: text + "!", answers: string(answers)})
	}
	lines := strings.Split(strings.TrimSuffix(written(t, d.reader.NDJSON, &read.Export{}), "\n"), "\n")
	slices.Sort(lines)
	if len(lines) != len(hostileTexts()) {
		t.Fatalf("%d lines", len(lines))
	}
	for i, text := range hostileTexts() {
		var got struct {
			MessageID string         `json:"message_id"`
			FlowToken string         `json:"flow_token"`
			Response  map[string]any `json:"response"`
		}
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatalf("%q: %v\n%s", text, err, lines[i])
		}
		if got.MessageID != fmt.Sprintf("%03d %s", i, text) || got.FlowToken != text+"!" || got.Response[text] != text {
			t.Errorf("%q: %s", text, lines[i])
		}
	}
}

func TestExport_ChoosesByFlowAndTime(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.store(row{id: "a", flow: flowID, at: day(1)}, row{id: "b", flow: flowID, at: day(2)}, row{id: "c", flow: "22", at: day(2)}, row{id: "d", token: "order", at: day(3)})
	d.sync()
	d.exec(`ALTER VIEW flows.flow_22 RENAME TO booking`)
	d.exec(`UPDATE flow_catalog SET view = 'booking', name = 'booking' WHERE id = '22'`)
	d.store(row{id: "e", flow: "33"}) // not in the catalog yet
	for _, c := range []struct {
		e    *read.Export
		want string
	}{
		{&read.Export{}, "a b c d e"},
		{&read.Export{Flow: flowID}, "a b"},
		{&read.Export{Flow: "flow_" + flowID}, "a b"},
		{&read.Export{Flow: "22"}, "c"},
		{&read.Export{Flow: "booking"}, "c"},
		{&read.Export{Flow: "33"}, "e"},
		{&read.Export{Since: day(2)}, "b c d"},
		{&read.Export{Until: day(2)}, "a e"},
		{&read.Export{Flow: flowID, Since: day(1), Until: day(2)}, "a"},
	} {
		table := csvOf(t, d, &read.Export{Flow: c.e.Flow, Since: c.e.Since, Until: c.e.Until})
		var fromTable, fromLines []string
		for _, r := range table[1:] {
			fromTable = append(fromTable, r[0])
		}
		for line := range strings.Lines(written(t, d.reader.NDJSON, c.e)) {
			id, _, _ := strings.Cut(strings.TrimPrefix(line, `{"message_id":"`), `"`)
			fromLines = append(fromLines, id)
		}
		slices.Sort(fromTable)
		slices.Sort(fromLines)
		if got := strings.Join(fromLines, " "); got != c.want || !slices.Equal(fromTable, fromLines) {
			t.Errorf("%v: %s, table %v, want %s", c.e.Flow, got, fromTable, c.want)
		}
	}
	for _, write := range []func(context.Context, io.Writer, *read.Export) error{d.reader.NDJSON, d.reader.CSV} {
		var out bytes.Buffer
		if err := write(t.Context(), &out, &read.Export{Flow: "no such flow"}); !errors.Is(err, read.ErrNotFound) || out.Len() != 0 {
			t.Errorf("%v, %d bytes", err, out.Len())
		}
	}
}

// csvOf returns an export's cells.
func csvOf(t *testing.T, d *desk, e *read.Export) [][]string {
	t.Helper()
	text, found := strings.CutPrefix(written(t, d.reader.CSV, e), "\ufeff")
	if !found {
		t.Errorf("no byte order mark: %.20q", text)
	}
	if strings.Count(text, "\r\n") != strings.Count(text, "\n") {
		t.Error("a line does not end with CRLF")
	}
	table, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestCSV_HasTheColumnsOfTheView(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for i := range 5 {
		d.store(row{id: fmt.Sprint("m", i), flow: flowID, at: day(i + 1), answers: fmt.Sprintf(
			`{"when":"2026-03-0%d","start":"2026-03-01T10:00:00.5+01:00","n":-12.50,"yes":%v,"list":["a","b, c","\"d\""],"object":{"b": 1},"none":null,"=key":"x"}`, i+1, i%2 == 0)})
	}
	d.sync()
	d.exec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET DateStyle = German', current_database()); END $$`)
	got := csvOf(t, d, &read.Export{Flow: flowID, Until: day(2)})
	slices.Sort(got[0][7:]) // the order of keys that no raw bytes tell is that of jsonb
	cells := strings.Join(got[1], "|")
	if diff := cmp.Diff([]string{
		"message_id", "wa_id", "contact_name", "flow_token", "sent_at", "received_at", "stored_at",
		"'=key", "list", "n", "none", "object", "start", "when", "yes",
	}, got[0]); diff != "" {
		t.Error(diff)
	}
	if want := "m0|15551234567||1197715005513101||2026-01-01 12:00:00|2026-01-01 12:00:00|"; !strings.HasPrefix(cells, want) {
		t.Error(cells)
	}
	for _, want := range []string{`|-12.50|`, `|a, b, c, "d"|`, `|TRUE|`, `|2026-03-01|`, `|2026-03-01 09:00:00|`, `|{"b": 1}|`, `||`} {
		if !strings.Contains(cells+"|", want) {
			t.Errorf("no %s in %s", want, cells)
		}
	}
}

// formulaWithin finds what begins a cell where the semicolon separates, or where
// quotes in the middle of a line mean nothing.
var formulaWithin = regexp.MustCompile(`[;\n\t][ \x{200b}]*[=+@＝＋＠-]`)

func TestCSV_NoCellIsAFormula(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for i, text := range hostileTexts() {
		answers, err := json.Marshal(map[string]any{"text": text, "list": []string{text}, "mixed": i % 2 * i, text + "!": i})
		if err != nil {
			t.Fatal(err)
		}
		d.store(row{id: fmt.Sprintf("%03d", i), flow: flowID, token: text, answers: string(answers)})
	}
	d.sync()
	for _, flow := range []string{"", flowID} {
		for _, cells := range csvOf(t, d, &read.Export{Flow: flow}) {
			for _, cell := range cells {
				if formulaWithin.MatchString(cell) {
					t.Errorf("a formula behind another separator: %q", cell)
				}
				if strings.ContainsAny(cell, "\x01\x02\x1f\x7f\u0080\u0085") {
					t.Errorf("a control character is in %q", cell)
				}
				if begin := strings.TrimLeft(cell, " \u00a0\u200b\u202e\ufeff"); begin != "" && strings.ContainsAny(begin[:min(3, len(begin))], "＝＋－＠") ||
					begin != "" && strings.ContainsAny(begin[:1], "=+-@\t\r\n") {
					t.Errorf("a formula: %q", cell)
				}
			}
		}
	}
	raw := written(t, d.reader.CSV, &read.Export{Flow: flowID, RawCells: true})
	for _, want := range []string{",=1+1,", ",-1,", ",@SUM(A1),", "\x01"} {
		if !strings.Contains(raw, want) {
			t.Errorf("raw cells: no %q", want)
		}
	}
}

// brokenPipe takes so many bytes and then no more.
type brokenPipe struct{ room int }

var errBroken = errors.New("nobody reads")

func (p *brokenPipe) Write(b []byte) (int, error) {
	if p.room -= len(b); p.room < 0 {
		return 0, errBroken
	}
	return len(b), nil
}

// Who stops reading ends the query, and does not wait for the rest of it.
func TestExport_AReaderThatGoesAwayEndsTheQuery(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`INSERT INTO flow_responses (message_id, token_kind, response, response_status, source, raw, received_at)
		SELECT n::text, 'none', jsonb_build_object('text', repeat('x', 1000)), 'ok', 'kapso', '', now() FROM generate_series(1, 50000) AS n`)
	for name, write := range map[string]func(context.Context, io.Writer, *read.Export) error{"ndjson": d.reader.NDJSON, "csv": d.reader.CSV} {
		e := &read.Export{}
		if err := write(t.Context(), &brokenPipe{room: 200_000}, e); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", name, err)
		}
		if e.Rows() > 40_000 {
			t.Errorf("%s: %d rows were read for nobody", name, e.Rows())
		}
	}
	storetest.Eventually(t, "the sessions are gone", func() bool {
		var n int
		if err := d.conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'flowkeep reader'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 0
	})
}
