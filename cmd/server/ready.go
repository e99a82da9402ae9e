package main

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"flowkeep/internal/store"
	"flowkeep/internal/web"
)

// alive answers that the process lives, nothing more.
func alive(w http.ResponseWriter, _ *http.Request) {
	web.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readiness answers whether a delivery can be made durable now. The database
// is asked at most once a second, whatever number of callers there is.
type readiness struct {
	db       *store.DB
	stopping *atomic.Bool

	mu    sync.Mutex
	asked time.Time
	fault error
}

// readyAnswer is the body of /readyz.
type readyAnswer struct {
	Status string            `json:"status"` // ok or unavailable
	Checks map[string]string `json:"checks"`
}

func (c *readiness) serve(w http.ResponseWriter, r *http.Request) {
	answer, status := readyAnswer{Status: "ok", Checks: map[string]string{"server": "ok", "database": "ok"}}, http.StatusOK
	if c.stopping.Load() {
		answer.Checks["server"] = "stopping"
		answer.Status, status = "unavailable", http.StatusServiceUnavailable
	}
	if err := c.ask(r.Context()); err != nil {
		web.EventOf(r.Context()).Fail(err)
		answer.Checks["database"] = "unavailable"
		answer.Status, status = "unavailable", http.StatusServiceUnavailable
	}
	web.WriteJSON(w, status, answer)
}

func (c *readiness) ask(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.asked) < time.Second {
		return c.fault
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	c.fault = c.db.Check(ctx)
	c.asked = time.Now()
	return c.fault
}
