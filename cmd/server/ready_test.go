package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"flowkeep/internal/simulate"
)

// ready asks /readyz.
func ready(t *testing.T, app *App) (int, readyAnswer) {
	t.Helper()
	status, text := get(t, app.URL()+"/readyz")
	var answer readyAnswer
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%d %s", status, text)
	}
	return status, answer
}

func TestReady_DegradedWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	app, _, p := startBehindProxy(t)
	if status, answer := ready(t, app); status != http.StatusOK || answer.Status != "ok" || answer.Checks.Spool.Records != 0 {
		t.Errorf("at first: %d %+v", status, answer)
	}
	sendAway(t, app, p)
	deliver(t, app, 2, "spooled", flowItem("a", ""), flowItem("b", ""))
	status, answer := ready(t, app)
	spool := answer.Checks.Spool
	if status != http.StatusOK || answer.Status != "degraded" || answer.Checks.Database != "away" || spool.Status != "ok" || spool.Records != 3 || spool.Bytes == 0 {
		t.Errorf("while away: %d %+v", status, answer)
	}
	eventually(t, 5*time.Second, "the oldest record has an age", func() bool {
		_, answer := ready(t, app)
		return answer.Checks.Spool.OldestSeconds >= 1
	})
	p.setAway(false)
	eventually(t, 30*time.Second, "ready again", func() bool {
		status, answer := ready(t, app)
		return status == http.StatusOK && answer.Status == "ok" && answer.Checks.Spool.Records == 0 && answer.Checks.Spool.OldestSeconds == 0
	})
}

// Nothing arrives, so nothing notices but the question itself.
func TestReady_AsksTheDatabase(t *testing.T) {
	t.Parallel()
	app, _, p := startBehindProxy(t)
	p.setAway(true)
	eventually(t, 10*time.Second, "degraded", func() bool {
		status, answer := ready(t, app)
		return status == http.StatusOK && answer.Status == "degraded" && answer.Checks.Database == "away"
	})
	p.setAway(false)
	eventually(t, 10*time.Second, "ok", func() bool { _, answer := ready(t, app); return answer.Status == "ok" })
}

func TestReady_UnavailableWhileStopping(t *testing.T) {
	t.Parallel()
	app := startApp(t, testConfig(t))
	app.stopping.Store(true)
	if status, answer := ready(t, app); status != http.StatusServiceUnavailable || answer.Status != "unavailable" || answer.Checks.Server != "stopping" {
		t.Errorf("%d %+v", status, answer)
	}
}

func TestReady_WrongSecretIsSuspected(t *testing.T) {
	t.Parallel()
	const hint = "signatures fail and none passes: wrong secret?"
	var log output
	app, _ := runApp(t, testConfig(t), zerolog.New(&log))
	says := func() (inReady, inLog, inMetrics bool) {
		_, answer := ready(t, app)
		_, numbers := get(t, app.URL()+"/metrics")
		return answer.Checks.Signatures == hint, strings.Contains(log.String(), hint),
			strings.Contains(numbers, "\nflowkeep_signatures_failing 1\n")
	}
	b := []byte(flowItem("a", ""))
	for i := range 3 {
		if r, l, m := says(); r || l || m {
			t.Errorf("after %d wrong signatures: readyz %v, log %v, metric %v", i, r, l, m)
		}
		if status, _ := post(t, app.URL()+"/webhooks/kapso", simulate.Sign("another secret", b), b, nil); status != http.StatusUnauthorized {
			t.Errorf("status %d", status)
		}
	}
	eventually(t, 5*time.Second, "readyz, log and metric speak of it", func() bool { r, l, m := says(); return r && l && m })
	deliver(t, app, 1, "stored", flowItem("a", ""))
	if r, _, m := says(); r || m {
		t.Errorf("after a good one: readyz %v, metric %v", r, m)
	}
}
