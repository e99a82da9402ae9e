package sends_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store"
	"flowkeep/internal/store/sends"
	"flowkeep/internal/store/storetest"
)

const flowID = "1197715005513101"

var postgres *storetest.Server

func TestMain(m *testing.M) {
	os.Exit(storetest.Run(m, func(s *storetest.Server) { postgres = s }))
}

// desk is a database with a session of the test's own, a Register and a writer.
type desk struct {
	t        *testing.T
	url      string
	conn     *pgx.Conn
	register *sends.Register
	writer   *store.Writer
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, url: postgres.New(t)}
	var err error
	if d.conn, err = pgx.Connect(t.Context(), d.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.conn.Close(context.Background()) })
	if d.register, err = sends.Open(d.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.register.Close)
	db, err := store.Open(d.url, 2, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	d.writer = store.NewWriter(db, 1, 1000, zerolog.Nop())
	t.Cleanup(d.writer.Close)
	return d
}

func (d *desk) exec(sql string, args ...any) {
	d.t.Helper()
	if _, err := d.conn.Exec(d.t.Context(), sql, args...); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
}

// text returns what sql selects, as Postgres's own text; "" for null.
func (d *desk) text(sql string, args ...any) string {
	d.t.Helper()
	var text *string
	if err := d.conn.QueryRow(d.t.Context(), "SELECT ("+sql+")::text", args...).Scan(&text); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
	if text == nil {
		return ""
	}
	return *text
}

func (d *desk) want(want, sql string, args ...any) {
	d.t.Helper()
	if got := d.text(sql, args...); got != want {
		d.t.Errorf("%s\ngot  %s\nwant %s", sql, got, want)
	}
}

// answer is what a person sent back.
type answer struct{ id, context, token, json string }

// store hands answers to the writer, read as a server reads them.
func (d *desk) store(p *flowparse.Parser, answers ...answer) {
	d.t.Helper()
	for _, a := range answers {
		parsed := p.Parse(flowparse.Input{Body: a.body(d.t), ReceivedAt: time.Now()})
		if len(parsed.Responses) != 1 {
			d.t.Fatalf("%s: %+v", a.id, parsed)
		}
		if _, err := d.writer.Put(d.t.Context(), &parsed); err != nil {
			d.t.Fatal(err)
		}
	}
}

// linked returns the flow of an answer and what told it.
func (d *desk) linked(id string) string {
	d.t.Helper()
	return d.text(`SELECT coalesce(flow_id, '-') || ' ' || coalesce(flow_id_source, '-') || ' ' || token_kind FROM flow_responses WHERE message_id = $1`, id)
}
