package api

import "time"

// SetStall makes streams that nobody reads end after d.
func (h *Handler) SetStall(d time.Duration) { h.stall = d }
