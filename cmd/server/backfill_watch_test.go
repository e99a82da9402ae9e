package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"flowkeep/internal/kapso/kapsotest"
)

// testNumber is the business number of a project at Kapso.
const testNumber = "647015955153740"

// The server by itself: what was missed appears, is counted, and /readyz says so.
func TestApp_BackfillsByItself(t *testing.T) {
	t.Parallel()
	k := kapsotest.New(t)
	k.AddNumber(testNumber)
	k.AddMessage(testNumber, time.Now().Add(-time.Hour), []byte(`{"id":"wamid.missed","type":"interactive",
		"interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","response_json":"{\"a\":1}"}}}`))
	cfg := testConfig(t)
	cfg.KapsoAPIKey, cfg.KapsoBaseURL, cfg.BackfillEvery = kapsotest.Key, k.URL(), time.Second
	app := startApp(t, cfg)
	conn := connect(t, cfg.DatabaseURL)
	eventually(t, time.Minute, "the missed answer is there", func() bool {
		return query[bool](t, conn, "SELECT EXISTS (SELECT FROM flow_responses WHERE message_id = 'wamid.missed' AND source = 'backfill')")
	})
	var ready struct {
		Checks struct{ Backfill backfillCheck }
	}
	eventually(t, time.Minute, "/readyz says how far it is", func() bool {
		_, text := get(t, app.URL()+"/readyz")
		return json.Unmarshal([]byte(text), &ready) == nil && ready.Checks.Backfill.CompleteUntil != nil && ready.Checks.Backfill.Status == "ok"
	})
	if _, metrics := get(t, app.URL()+"/metrics"); !strings.Contains(metrics, "\nflowkeep_backfill_added_total 1\n") {
		t.Error("the metric does not say that one was added")
	}
}

func TestBackfill_Usage(t *testing.T) {
	t.Parallel()
	k := kapsotest.New(t)
	for _, args := range [][]string{{}, {"--since", "yesterday"}, {"--since", "1h", "--until", "2h"}, {"--since", "1h", "more"}} {
		if code, out, errs := runBackfill(t.Context(), t, "postgres://nowhere", k, args...); code != 2 {
			t.Errorf("%v: exit code %d\n%s%s", args, code, out, errs)
		}
	}
	if k.Requests() != 0 {
		t.Errorf("%d calls for nothing", k.Requests())
	}
	if _, err := readConfig([]string{"HOME=/h", "FLOWKEEP_BACKFILL_EVERY=10s"}); err == nil ||
		!strings.Contains(err.Error(), "at least 1m") || !strings.Contains(err.Error(), "needs KAPSO_API_KEY") {
		t.Error(err)
	}
}
