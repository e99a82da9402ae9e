package sends_test

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"flowkeep/internal/store"
	"flowkeep/internal/store/sends"
)

func TestImport_IsRepeatable(t *testing.T) {
	t.Parallel()
	const csv = "\ufeffflow_id,wamid,recipient,context,sent_at,kind,template,flow_token\n" +
		`1197715005513101,wamid.1,+1 555 123-4567,"{""order"": 7}",2026-01-31T12:00:00+01:00,template,booking,order-7` + "\n" +
		`1197715005513101,wamid.2,,,,,,` + "\n"
	const ndjson = `{"wamid":"wamid.1","flow_id":"1197715005513101","recipient":"+1 555 123-4567","context":{"order":7},"sent_at":"2026-01-31T11:00:00Z","kind":"template","template":"booking","flow_token":"order-7"}

{"wamid":"wamid.2","flow_id":"1197715005513101","template":null}`
	for name, read := range map[string]func() iter.Seq2[sends.Send, error]{
		"csv":    func() iter.Seq2[sends.Send, error] { return sends.ReadCSV(strings.NewReader(csv)) },
		"ndjson": func() iter.Seq2[sends.Send, error] { return sends.ReadNDJSON(strings.NewReader(ndjson)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.exec(`INSERT INTO flow_sends (wamid, flow_id) VALUES ('wamid.2', '222')`)
			for _, want := range []sends.Imported{{New: 1, Known: 1}, {New: 0, Known: 2}} {
				done, err := d.register.Import(t.Context(), read())
				if err != nil || done != want {
					t.Fatalf("%+v %v, want %+v", done, err, want)
				}
			}
			d.want(`(wamid.1,1197715005513101,order-7,15551234567,template,booking,"{""order"": 7}","2026-01-31 11:00:00",sent)`,
				`SELECT row(wamid, flow_id, flow_token, recipient, kind, template, context, sent_at AT TIME ZONE 'UTC', status) FROM flow_sends WHERE wamid = 'wamid.1'`)
			d.want("222", `SELECT flow_id FROM flow_sends WHERE wamid = 'wamid.2'`)
		})
	}
}

func TestImport_NamesTheLineAndTheColumn(t *testing.T) {
	t.Parallel()
	const good = `{"wamid":"wamid.%d","flow_id":"1"}` + "\n"
	tests := []struct{ what, bad, want string }{
		{"no JSON", `{"wamid":`, "it is no JSON object"},
		{"a list", `["secret"]`, "it is no JSON object"},
		{"a number", `{"wamid":"w","flow_id":7}`, `"flow_id" is no string`},
		{"unknown column", `{"wamid":"w","flow_id":"1","flow":"secret"}`, `"flow" is no column`},
		{"no wamid", `{"flow_id":"1"}`, "wamid is empty"},
		{"no flow", `{"wamid":"w"}`, "flow_id is empty"},
		{"time", `{"wamid":"w","flow_id":"1","sent_at":"secret"}`, "sent_at is no time"},
		{"context", `{"wamid":"w","flow_id":"1","context":"secret"}`, "context is no JSON object"},
		{"lone surrogate", `{"wamid":"w","flow_id":"1","context":{"secret":"\ud800"}}`, "context is nothing that Postgres can hold"},
		{"endless number", `{"wamid":"w","flow_id":"1","context":{"secret":1e400000}}`, "context is nothing that Postgres can hold"},
		{"NUL", `{"wamid":"w","flow_id":"1","context":{"secret":"\\\u0000"}}`, "context is no JSON object"},
		{"too long", `{"wamid":"` + strings.Repeat("w", 1<<20) + `"}`, "more than 1048576 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			var file strings.Builder
			for i := range 600 {
				fmt.Fprintf(&file, good, i)
			}
			file.WriteString(tt.bad + "\n" + fmt.Sprintf(good, 601))
			done, err := d.register.Import(t.Context(), sends.ReadNDJSON(strings.NewReader(file.String())))
			if !errors.Is(err, sends.ErrInvalid) || !strings.Contains(err.Error(), "line 601: ") || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if want := (sends.Imported{New: 600}); done != want {
				t.Errorf("%+v, want %+v: those before it are good", done, want)
			}
		})
	}
}

func TestImport_EscapedBackslash(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	file := `{"wamid":"w","flow_id":"1","context":{"path":"C:\\u0000x"}}`
	if done, err := d.register.Import(t.Context(), sends.ReadNDJSON(strings.NewReader(file))); err != nil || done.New != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	d.want(`C:\u0000x`, `SELECT context->>'path' FROM flow_sends`)
}

// A wamid in the last batch, which fails, is not known.
func TestImport_CountsNothingOfAFailure(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`ALTER TABLE flow_sends RENAME TO away`)
	file := `{"wamid":"w","flow_id":"1"}`
	done, err := d.register.Import(t.Context(), sends.ReadNDJSON(strings.NewReader(file)))
	if err == nil || errors.Is(err, sends.ErrInvalid) || done != (sends.Imported{}) {
		t.Errorf("%+v, %v", done, err)
	}
}

// Whom an erasure covers is not brought back: by any of their ids, in whatever
// spelling, and if the file does not say that the send came after it.
func TestImport_LeavesOutTheErased(t *testing.T) {
	t.Parallel()
	const file = "wamid,flow_id,recipient,sent_at\n" +
		"by number,1,+1 555 123-4567,2026-01-31T12:00:00Z\nby number,1,+1 555 123-4567,2026-01-31T12:00:00Z\n" +
		"by user id,1,US.1,2026-01-31T12:00:00Z\nwithout a time,1,15551234567,\nthe message,1,,2026-01-31T12:00:00Z\n" +
		"wamid.HBgLMTU1NTEyMzQ1NjcVAgARGBI5QUM1RTMA,1,,2026-01-31T12:00:00Z\n" +
		"after it,1,15551234567,2999-01-31T12:00:00Z\nother,1,15557654321,2026-01-31T12:00:00Z\nnobody,1,,\n"
	d := newDesk(t)
	imported := func(want sends.Imported) {
		t.Helper()
		if done, err := d.register.Import(t.Context(), sends.ReadCSV(strings.NewReader(file))); err != nil || done != want {
			t.Errorf("%+v, %v, want %+v", done, err, want)
		}
	}
	imported(sends.Imported{New: 8, Known: 1})
	db, err := store.Open(d.url, 1, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	for _, id := range []string{"15551234567", "US.1"} {
		if _, err := db.ErasePerson(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.EraseMessage(t.Context(), "the message"); err != nil {
		t.Fatal(err)
	}
	imported(sends.Imported{Known: 3, Erased: 6})
	d.want("after it, nobody, other", `SELECT string_agg(wamid, ', ' ORDER BY wamid) FROM flow_sends`)
}

func TestReadCSV_NamesTheLine(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"":                               "line 1: ",
		"wamid,flow_id\nw,1\nw,1,2\n":    "line 3: ",
		"wamid,flow_id\nw,1\nw,\"1\n2\n": "line 3: ",
		"wamid,flow_id\n\"w\n\",1\nw,\n": "line 4: ",
		"wamid,flow_id\nw,1\nw\"x,1\n":   "line 3: ",
		"wamid,flow_id\nw,1\n\"w\"x,1\n": "line 3: ",
		"wamid,flow_id\nw,1\n\"abc":      "line 3: ",
		"wa\"mid,flow_id\n":              "line 1: ",
		"\"wamid":                        "line 1: ",
		"wamid,secrets\nw,1\n":           `line 1: invalid send: "secrets" is no column`,
		"wamid,secrets\n":                `line 1: invalid send: "secrets" is no column`,
		"wamid,flow_id,wamid\nw,1,x\n":   `line 1: invalid send: "wamid" is there twice`,
		"wamid,flow_id,wamid":            `line 1: invalid send: "wamid" is there twice`,
	} {
		var good int
		var last error
		for _, err := range sends.ReadCSV(strings.NewReader(file)) {
			if last = err; err == nil {
				good++
			}
		}
		if !errors.Is(last, sends.ErrInvalid) || !strings.HasPrefix(last.Error(), want) {
			t.Errorf("%q: %v, want %s", file, last, want)
		}
		if strings.HasPrefix(want, "line 1: ") != (good == 0) {
			t.Errorf("%q: %d were read before it", file, good)
		}
	}
	for _, before := range []string{"", "wamid,flow_id\nw,1\n"} {
		var last error
		for _, err := range sends.ReadCSV(io.MultiReader(strings.NewReader(before), failing{})) {
			last = err
		}
		if last == nil || errors.Is(last, sends.ErrInvalid) {
			t.Errorf("a disk that fails is no fault of the file: %v", last)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the disk failed") }
