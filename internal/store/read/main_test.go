package read_test

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/store/flows"
	"flowkeep/internal/store/read"
)

const flowID = "1197715005513101"

// desk is a database with a session of the test's own and a Reader.
type desk struct {
	t      *testing.T
	url    string
	conn   *pgx.Conn
	reader *read.Reader
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, url: read.Postgres().New(t)}
	var err error
	if d.conn, err = pgx.Connect(t.Context(), d.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.conn.Close(context.Background()) })
	if d.reader, err = read.Open(d.url, 2); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.reader.Close)
	return d
}

func (d *desk) exec(sql string, args ...any) {
	d.t.Helper()
	if _, err := d.conn.Exec(d.t.Context(), sql, args...); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
}

// row is a response as a test cares about it.
type row struct {
	id, flow, token, answers string
	at                       time.Time // stored_at
}

// store adds rows as the writer would. Without a flow, the token is custom.
func (d *desk) store(rows ...row) {
	d.t.Helper()
	for _, r := range rows {
		kind := "flow_id"
		if r.token == "" {
			r.token = r.flow
		}
		if r.flow == "" {
			kind = "custom"
		}
		if r.answers == "" {
			r.answers = `{}`
		}
		if r.at.IsZero() {
			r.at = day(1)
		}
		d.exec(`INSERT INTO flow_responses (message_id, flow_id, flow_token, token_kind, response, response_status, wa_id, source, raw, received_at, stored_at)
			VALUES ($1, nullif($2, ''), $3, $4, $5::jsonb, 'ok', '15551234567', 'kapso', 'secret bytes', $6, $6)`, r.id, r.flow, r.token, kind, r.answers, r.at)
	}
}

// day is noon of a day in January 2026.
func day(n int) time.Time { return time.Date(2026, 1, n, 12, 0, 0, 123456000, time.UTC) }

// sync makes the typed views.
func (d *desk) sync() {
	d.t.Helper()
	k, err := flows.Open(d.url, nil, zerolog.Nop())
	if err != nil {
		d.t.Fatal(err)
	}
	defer k.Close()
	if _, err := k.Sync(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
}

// written returns what an export writes.
func written(t *testing.T, write func(context.Context, io.Writer, *read.Export) error, e *read.Export) string {
	t.Helper()
	var out bytes.Buffer
	if err := write(t.Context(), &out, e); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
