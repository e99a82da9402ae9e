package webhook

import "sync/atomic"

// suspicion notices that deliveries are refused for their signature while none
// passes: most likely the secret here and the secret there differ, and the
// provider will pause the webhook (kapso-facts.md, section 1, "Auto-pause").
type suspicion struct {
	failedSincePass atomic.Int64
}

// enough failures in a row to speak of it; fewer are somebody's probe.
const suspicious = 3

func (s *suspicion) passed() {
	if s.failedSincePass.Load() != 0 { // most often it is, and a load is cheap
		s.failedSincePass.Store(0)
	}
}

// failed returns whether this is the failure that gives rise to suspicion.
func (s *suspicion) failed() bool { return s.failedSincePass.Add(1) == suspicious }

// SignaturesFail says that the last deliveries all had a wrong signature.
func (h *Handler) SignaturesFail() bool { return h.suspicion.failedSincePass.Load() >= suspicious }
