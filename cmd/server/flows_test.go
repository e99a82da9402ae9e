package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/simulate"
)

// viewOf waits until the simulator's appointments have their view.
func viewOf(t *testing.T, url, column string) {
	t.Helper()
	conn := connect(t, url)
	eventually(t, time.Minute, "the view has the column "+column, func() bool {
		return query[bool](t, conn, `SELECT EXISTS (SELECT FROM flow_catalog WHERE id = '1197715005513101' AND $1 = ANY(columns))`, column)
	})
}

func TestFlows_AViewAppearsByItself(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	const item = `{"message":{"id":"%s","type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","response_json":%q}}}}`
	send := func(id, answers string) {
		body := fmt.Appendf(nil, item, id, answers)
		if status, answer := post(t, app.URL()+"/webhooks/kapso", sign(body), body, nil); status != 200 {
			t.Fatalf("%d %v", status, answer)
		}
	}
	send("m1", `{"flow_token":"1197715005513101","zone":"north","agree":true}`)
	viewOf(t, cfg.DatabaseURL, "agree")
	send("m2", `{"flow_token":"1197715005513101","zone":"south","agree":true,"guests":2}`)
	viewOf(t, cfg.DatabaseURL, "guests")
	conn := connect(t, cfg.DatabaseURL)
	if got := query[string](t, conn, `SELECT zone || ' ' || agree || ' ' || guests FROM flows.flow_1197715005513101 WHERE message_id = 'm2'`); got != "south true 2" {
		t.Error(got)
	}

	if out := mustRun(t, cfg.DatabaseURL, "flows", "name", "1197715005513101", "booking"); out != "" {
		t.Error(out)
	}
	list := mustRun(t, cfg.DatabaseURL, "flows")
	for _, want := range []string{
		`1197715005513101  2 answers, \d{4}-\d\d-\d\dT`, `in flows\.booking\n`, `zone +text +filled 100 %\n`, `agree +boolean +filled 100 %\n`, `guests +numeric +filled 50 %\n`, `0 answers with no known flow`,
	} {
		if !regexp.MustCompile(want).MatchString(list) {
			t.Errorf("the list lacks %s:\n%s", want, list)
		}
	}
	mustRun(t, cfg.DatabaseURL, "flows", "retype", "booking", "guests", "text")
	if _, err := conn.Exec(t.Context(), `CREATE VIEW public.guests_of_all AS SELECT sum(guests::numeric) FROM flows.booking`); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := runCommand(t, cfg.DatabaseURL, "flows", "retype", "booking", "guests", "numeric")
	if code != 1 || !strings.Contains(stderr, "view guests_of_all") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if out := mustRun(t, cfg.DatabaseURL, "flows", "sync"); !strings.HasPrefix(out, "looked at every answer of ") {
		t.Error(out)
	}
	for _, args := range [][]string{{"flows", "nam"}, {"flows", "name", "x"}, {"flows", "sync", "x"}, {"flows", "retype", "x", "y"}, {"flows", "1", "2", "3", "4", "5"}} {
		if code, _, _ := runCommand(t, cfg.DatabaseURL, args...); code != 2 {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}

// What waited in the spool, and what another replica stored, is in the views.
func TestFlows_WhateverWayTheAnswersCame(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	app.keeper.away.Store(true) // straight to the spool, and drained from there
	report, err := simulate.Run(t.Context(), simulate.Config{URL: app.URL(), Secret: testSecret, Count: 100, Mix: mixOf(t, "default=5,custom=2,odd=2")})
	if err != nil || report.Accepted != 100 {
		t.Fatalf("%v\n%s", err, report)
	}
	conn := connect(t, cfg.DatabaseURL)
	eventually(t, time.Minute, "the spool is drained", func() bool { return app.spool.Stats().Records == 0 })
	const catalog = `SELECT coalesce(string_agg(id || keys::text || types::text || misfits::text || state, E'\n' ORDER BY id), '') FROM flow_catalog WHERE answers > 0`
	fresh := copyOfAnswers(t, conn)
	mustRun(t, fresh, "flows", "sync")
	anew := query[string](t, connect(t, fresh), catalog)
	if lines := strings.Count(anew, "\n") + 1; lines < 2 {
		t.Fatalf("the mix makes %d flows", lines)
	}
	var live string
	defer func() {
		if t.Failed() {
			t.Logf("live: %s\nanew: %s", live, anew)
		}
	}()
	eventually(t, time.Minute, "the catalog is what is made of all answers at once", func() bool {
		live = query[string](t, conn, catalog)
		return live == anew
	})
}

// copyOfAnswers makes a database with the same answers and no view.
func copyOfAnswers(t *testing.T, from *pgx.Conn) (url string) {
	t.Helper()
	url = postgres.New(t)
	var rows bytes.Buffer
	if _, err := from.PgConn().CopyTo(t.Context(), &rows, "COPY flow_responses TO STDOUT"); err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, url).PgConn().CopyFrom(t.Context(), &rows, "COPY flow_responses FROM STDIN"); err != nil {
		t.Fatal(err)
	}
	return url
}
