package sends_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/store/sends"
)

// begin is a pending send, and a transaction of somebody else's session.
func (d *desk) begin() (id int64, other pgx.Tx) {
	d.t.Helper()
	id, err := d.register.Begin(d.t.Context(), sends.Send{FlowID: flowID})
	if err != nil {
		d.t.Fatal(err)
	}
	conn, err := pgx.Connect(d.t.Context(), d.url)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close(context.Background()) })
	if other, err = conn.Begin(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	return id, other
}

const waitingSQL = `FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'flowkeep sends' AND wait_event_type = 'Lock'`

// A status event that carries the flow inserts the wamid, and has not committed
// when the answer to the call is there.
func TestRegister_SentWhileAStatusEventInsertsTheWamid(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id, other := d.begin()
	if _, err := other.Exec(t.Context(), `INSERT INTO flow_sends (wamid, flow_id, status, delivered_at) VALUES ('wamid.1', '1', 'delivered', now())`); err != nil {
		t.Fatal(err)
	}
	settled := make(chan error, 1)
	go func() { settled <- d.register.Sent(t.Context(), id, "wamid.1") }()
	d.eventually("true", `SELECT count(*) > 0 `+waitingSQL)
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-settled; err != nil {
		t.Fatal(err)
	}
	d.want("(wamid.1,1197715005513101,,,interactive,,{},delivered,)", sendSQL, id)
	d.want("1", `SELECT count(*) FROM flow_sends`)
}

// The connection is lost while a send is settled.
func TestRegister_SettlesThoughTheConnectionIsLost(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id, other := d.begin()
	if _, err := other.Exec(t.Context(), `SELECT FROM flow_sends FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	settled := make(chan error, 1)
	go func() { settled <- d.register.Sent(t.Context(), id, "wamid.1") }()
	d.eventually("true", `SELECT bool_or(pg_terminate_backend(pid)) `+waitingSQL)
	if err := other.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-settled; err != nil {
		t.Fatal(err)
	}
	d.want("(wamid.1,1197715005513101,,,interactive,,{},sent,)", sendSQL, id)
}

// A commit whose answer is lost is repeated, whatever was settled.
func TestRegister_SettlingTwiceIsHarmless(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for what, settle := range map[string]func(int64) error{
		"sent":     func(id int64) error { return d.register.Sent(t.Context(), id, "wamid.1") },
		"failed":   func(id int64) error { return d.register.Failed(t.Context(), id, "131026") },
		"in doubt": func(id int64) error { return d.register.InDoubt(t.Context(), id, "no_answer") },
	} {
		id, err := d.register.Begin(t.Context(), sends.Send{FlowID: flowID})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := settle(id); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}
