package sends_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store/flows"
	"flowkeep/internal/store/sends"
	"flowkeep/internal/store/storetest"
)

// serve links answers and keeps the views, as a server does, until the test
// ends.
func (d *desk) serve() *flows.Keeper {
	d.t.Helper()
	k, err := flows.Open(d.url, nil, zerolog.Nop())
	if err != nil {
		d.t.Fatal(err)
	}
	d.writer.Tell(k.Saw)
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { k.Run(ctx) })
	tasks.Go(func() { sends.LinkSeekingAgain(ctx, k, time.Second) })
	d.t.Cleanup(func() { cancel(); tasks.Wait(); k.Close() })
	return k
}

func (d *desk) eventually(want, sql string, args ...any) {
	d.t.Helper()
	got := ""
	defer func() {
		if d.t.Failed() {
			d.t.Logf("last: %s", got)
		}
	}()
	storetest.Eventually(d.t, sql+" is "+want, func() bool { got = d.text(sql, args...); return got == want })
}

func TestLink_ASendThatIsRegisteredAfterItsAnswer(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	guessing, knowing := flowparse.New(nil), flowparse.New([]string{flowID})
	d.store(guessing,
		answer{id: "message", context: "wamid.s1", token: "a"},
		answer{id: "token", context: "wamid.unheard", token: "order-2"},
		answer{id: "shared", token: "shared"},
		answer{id: "guess", context: "wamid.unheard", token: "1234567890123456"},
		answer{id: "right guess", token: flowID},
		answer{id: "none"},
		answer{id: "unheard", context: "wamid.other", token: "other"},
	)
	d.store(knowing, answer{id: "known", context: "wamid.s1", token: flowID})
	d.serve()
	d.exec(`INSERT INTO flow_sends (wamid, flow_id, flow_token) VALUES
		('wamid.s1', '111', NULL), ('wamid.s2', '222', 'order-2'), ('wamid.s3', '333', 'shared'), ('wamid.s4', '444', 'shared'),
		('wamid.s5', '555', '1234567890123456'), ('wamid.s6', '1197715005513101', '1197715005513101')`)
	d.eventually("6", `SELECT count(*) FROM flow_sends WHERE linked_at IS NOT NULL`)
	for id, want := range map[string]string{
		"message": "111 sent_message custom", "token": "222 registered_token custom", "shared": "- - custom",
		"guess": "555 registered_token custom", "right guess": flowID + " registered_token flow_id",
		"none": "- - none", "unheard": "- - custom", "known": flowID + " known_flow flow_id",
	} {
		if got := d.linked(id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	// What the call that sent it is told later links it too, and better.
	d.exec(`INSERT INTO flow_sends (flow_id, flow_token, status) VALUES ('777', 'other', 'in_doubt')`)
	storetest.Eventually(t, "the token is known", func() bool { return d.linked("unheard") == "777 registered_token custom" })
	if err := d.register.Sent(t.Context(), 7, "wamid.other"); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "the message is known", func() bool { return d.linked("unheard") == "777 sent_message custom" })
}

// An answer whose insert began before the send was to be seen, and ended after
// answers were looked for.
func TestLink_AnAnswerThatWasUnderWay(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.serve()
	other, err := pgx.Connect(t.Context(), d.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close(context.Background()) })
	tx, err := other.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO flow_responses (message_id, token_kind, context_message_id, response, response_status, source, raw, received_at)
		VALUES ('late', 'none', 'wamid.s1', '{}', 'ok', 'kapso', '', now())`); err != nil {
		t.Fatal(err)
	}
	d.exec(`INSERT INTO flow_sends (wamid, flow_id) VALUES ('wamid.s1', '111')`)
	d.eventually("true", `SELECT sought_at > '-infinity' FROM flow_sends`)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "it is linked", func() bool { return d.linked("late") == "111 sent_message none" })
}

const catalogSQL = `SELECT string_agg(id || ' ' || view || keys::text || columns::text || types::text || misfits::text || answers || state, E'\n' ORDER BY id) FROM flow_catalog`

// The typed views of answers that moved are what they would be had the sends
// been there before.
func TestLink_TheViewsAreAsMadeFromNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	keeper := d.serve()
	p := flowparse.New(nil)
	for i := range 6 {
		d.store(p,
			answer{id: fmt.Sprintf("a%d", i), context: fmt.Sprintf("wamid.a%d", i), token: "x", json: fmt.Sprintf(`{"k%d":1,"always":true}`, i)},
			answer{id: fmt.Sprintf("g%d", i), context: fmt.Sprintf("wamid.g%d", i), token: flowID, json: fmt.Sprintf(`{"g%d":1,"always":"yes"}`, i)},
		)
	}
	d.eventually("6", `SELECT answers FROM flow_catalog WHERE id = $1`, flowID)
	// Out of order: the second has a key that comes after the others already there.
	for i, n := range []int{3, 1, 5, 0} {
		d.exec(`INSERT INTO flow_sends (wamid, flow_id) VALUES ($1, '111'), ($2, '111')`, fmt.Sprintf("wamid.a%d", n), fmt.Sprintf("wamid.g%d", n))
		d.eventually(fmt.Sprint(2*(i+1)), `SELECT answers FROM flow_catalog WHERE id = '111'`)
		d.eventually(fmt.Sprint(6-(i+1)), `SELECT answers FROM flow_catalog WHERE id = $1`, flowID)
	}
	d.exec(`INSERT INTO flow_sends (wamid, flow_id) SELECT context_message_id, '222' FROM flow_responses WHERE message_id IN ('g2', 'g4')`)
	d.eventually("0", `SELECT answers FROM flow_catalog WHERE id = $1`, flowID)
	d.eventually("2", `SELECT answers FROM flow_catalog WHERE id = '222'`)
	d.eventually("6", `SELECT count(*) FROM flow_sends WHERE linked_at IS NOT NULL AND flow_id = '111' AND wamid LIKE 'wamid.a%' OR wamid IN ('wamid.g2', 'wamid.g4')`)
	d.eventually("always", `SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = to_regclass('flows.flow_222') AND attname = 'always'`)
	d.eventually("7", `SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('flows.flow_1197715005513101') AND attnum > 0 AND NOT attisdropped`)
	d.eventually("16", `SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('flows.flow_111') AND attnum > 0 AND NOT attisdropped`)
	d.want("0", `SELECT count(*) FROM flows.flow_1197715005513101`)
	live := d.text(catalogSQL)
	if _, err := keeper.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(live, d.text(catalogSQL)); diff != "" {
		t.Errorf("sync beside live: %s", diff)
	}
}

// Answers that stay in their flow are not counted again.
func TestLink_ARightGuessBecomesKnowledge(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	keeper := d.serve()
	for i := range 3 {
		d.store(flowparse.New(nil), answer{id: fmt.Sprintf("g%d", i), token: flowID, json: fmt.Sprintf(`{"k%d":1}`, i)})
	}
	d.eventually("3", `SELECT cardinality(keys) FROM flow_catalog WHERE id = $1`, flowID)
	before := d.text(catalogSQL)
	d.exec(`INSERT INTO flow_sends (wamid, flow_id, flow_token) VALUES ('wamid.s1', $1, $1)`, flowID)
	d.eventually("3", `SELECT count(*) FROM flow_responses WHERE flow_id_source = 'registered_token' AND token_kind = 'flow_id'`)
	d.eventually("1", `SELECT count(*) FROM flow_sends WHERE linked_at IS NOT NULL`)
	d.want(before, catalogSQL)
	if _, err := keeper.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.want(before, catalogSQL)
}

func TestLink_ManySends(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`INSERT INTO flow_responses (message_id, flow_token, token_kind, context_message_id, response, response_status, source, raw, received_at)
		SELECT 'm' || i, CASE WHEN i % 2 = 0 THEN 'order-' || i END, CASE WHEN i % 2 = 0 THEN 'custom' ELSE 'none' END,
			'wamid.' || i, '{"a":1}', 'ok', 'kapso', '', now() FROM generate_series(1, 3000) AS i`)
	d.exec(`INSERT INTO flow_sends (wamid, flow_id, flow_token) SELECT 'wamid.' || i, '111', 'order-' || i FROM generate_series(1, 3000) AS i`)
	d.serve()
	d.eventually("3000", `SELECT count(*) FROM flow_responses WHERE flow_id_source = 'sent_message'`)
	d.eventually("3000", `SELECT count(*) FROM flow_sends WHERE linked_at IS NOT NULL`)
	d.eventually("3000", `SELECT answers FROM flow_catalog`)
}
