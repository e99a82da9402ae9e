package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"flowkeep/internal/web"
)

// roomForOne is what a delivery most often needs at most. The last bytes of a
// spool fit nothing: it is full before it is full to the byte.
const roomForOne = 64 << 10

// alive answers that the process lives, nothing more.
func alive(w http.ResponseWriter, _ *http.Request) {
	web.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readiness answers whether a delivery can be made durable now. The database
// is asked at most once a second, whatever number of callers there is.
type readiness struct {
	app *App

	mu    sync.Mutex
	asked time.Time
	fault error
}

// readyAnswer is the body of /readyz.
type readyAnswer struct {
	Status string `json:"status"` // ok, degraded or unavailable
	Checks struct {
		Server     string     `json:"server"`   // ok or stopping
		Database   string     `json:"database"` // ok or away
		Spool      spoolCheck `json:"spool"`
		Signatures string     `json:"signatures"` // ok, or what to look at

		Backfill *backfillCheck `json:"backfill,omitempty"` // only with FLOWKEEP_BACKFILL_EVERY
	} `json:"checks"`
}

type spoolCheck struct {
	Status        string `json:"status"` // ok, full or failing
	Records       int    `json:"records"`
	Bytes         int64  `json:"bytes"`
	MaxBytes      int64  `json:"max_bytes"`
	OldestSeconds int    `json:"oldest_seconds"`      // age of the oldest record
	SetAside      int    `json:"set_aside,omitempty"` // damaged files that wait for a person
}

func (c *readiness) serve(w http.ResponseWriter, r *http.Request) {
	var answer readyAnswer
	checks := &answer.Checks
	checks.Server, checks.Database, checks.Signatures = "ok", "ok", "ok"
	checks.Spool, checks.Backfill = c.spool(), c.app.backfillCheck()
	if c.app.stopping.Load() {
		checks.Server = "stopping"
	}
	if c.app.keeper.away.Load() {
		checks.Database = "away"
	} else if err := c.ask(r.Context()); err != nil {
		web.EventOf(w).Fail(err)
		checks.Database = "away"
	}
	if c.app.hooks.SignaturesFail() {
		checks.Signatures = "signatures fail and none passes: wrong secret?"
	}
	status := http.StatusOK
	switch {
	case checks.Server != "ok", checks.Database != "ok" && checks.Spool.Status != "ok":
		answer.Status, status = "unavailable", http.StatusServiceUnavailable
	case checks.Database != "ok", checks.Spool.Status != "ok", checks.Spool.Records > 0:
		answer.Status = "degraded"
	default:
		answer.Status = "ok"
	}
	web.WriteJSON(w, status, answer)
}

func (c *readiness) spool() spoolCheck {
	s := c.app.spool.Stats()
	check := spoolCheck{Status: "ok", Records: s.Records, Bytes: s.Bytes, MaxBytes: s.MaxBytes, SetAside: s.SetAside}
	if !s.OldestAt.IsZero() {
		check.OldestSeconds = int(max(0, time.Since(s.OldestAt)).Seconds())
	}
	switch {
	case s.Err != nil:
		check.Status = "failing"
	case s.Bytes > s.MaxBytes-roomForOne:
		check.Status = "full"
	}
	return check
}

func (c *readiness) ask(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.asked) < time.Second {
		return c.fault
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	c.fault = c.app.db.Check(ctx)
	c.asked = time.Now()
	return c.fault
}
