// Package webhook holds all that a provider may call. It believes nothing
// before the signature over the exact bytes is verified, and answers 200 only
// when the Sink says that everything in the delivery is durable.
//
// Facts about what is sent are in kapso-facts.md, sections 1 and 3.
package webhook

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/web"
)

// ErrUnavailable is what a Sink's error wraps when the delivery could not be
// made durable now and should be sent again. Any other error is a fault of
// ours.
var ErrUnavailable = errors.New("cannot be made durable now")

// Kept says what became of the items of a delivery. All but Ignored is durable.
type Kept struct {
	Stored      int `json:"stored"`
	Duplicate   int `json:"duplicate"`
	Ignored     int `json:"ignored"` // not kept: no Flow response, or what the Sink has no room for
	Quarantined int `json:"quarantined"`
	Spooled     int `json:"spooled"`
}

// Sink makes deliveries durable. Keep returns when everything in d is, or with
// an error. d aliases the body, which nobody changes afterwards.
type Sink interface {
	Keep(ctx context.Context, d *flowparse.Delivery) (Kept, error)
}

// Config is what the routes need to know. An empty secret list means that no
// signature of that kind is accepted.
type Config struct {
	KapsoSecrets    []string
	MetaAppSecrets  []string
	MetaVerifyToken string // empty: the handshake is not served
	KnownFlowIDs    []string
	MaxBodyBytes    int64 // of one body
	UnverifiedBytes int64 // of all bodies that are being read
	VerifiedBytes   int64 // of all bodies that are being stored
}

// Handler serves the webhook routes.
type Handler struct {
	cfg     Config
	sink    Sink
	parser  *flowparse.Parser
	intake  *intake
	metrics metrics

	suspicion  suspicion
	lastSigned atomic.Int64 // unix nanoseconds; the start, until a signed delivery arrives
}

// New returns a Handler that hands what it verified and parsed to sink.
func New(cfg Config, sink Sink, reg prometheus.Registerer) *Handler {
	in := &intake{
		maxUnverified: max(cfg.UnverifiedBytes, 2*cfg.MaxBodyBytes),
		maxVerified:   max(cfg.VerifiedBytes, cfg.MaxBodyBytes+1),
	}
	h := &Handler{cfg: cfg, sink: sink, parser: flowparse.New(cfg.KnownFlowIDs), intake: in}
	h.lastSigned.Store(time.Now().UnixNano())
	h.metrics = newMetrics(reg, h)
	return h
}

// Routes adds the addresses to r.
func (h *Handler) Routes(r chi.Router) {
	r.Post("/webhooks/kapso", h.receive(
		signer{name: "kapso", header: "X-Webhook-Signature", secrets: h.cfg.KapsoSecrets},
	))
	r.Post("/webhooks/meta", h.receive(
		signer{name: "meta", header: "X-Hub-Signature-256", secrets: h.cfg.MetaAppSecrets},
		signer{name: "kapso", header: "X-Webhook-Signature", secrets: h.cfg.KapsoSecrets},
	))
	if h.cfg.MetaVerifyToken != "" {
		r.Get("/webhooks/meta", h.handshake)
	} else {
		r.Get("/webhooks/meta", web.NotFound)
	}
}

// receive answers deliveries that carry a valid signature of one of signers.
func (h *Handler) receive(signers ...signer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		kept, err := h.take(w, r, signers)
		if err != nil {
			h.refuse(w, err)
			return
		}
		web.WriteJSON(w, http.StatusOK, kept)
	}
}

// take is the path of a delivery: signature header, body, signature, parse,
// keep.
func (h *Handler) take(w http.ResponseWriter, r *http.Request, signers []signer) (Kept, error) {
	receivedAt := time.Now()
	memory := h.intake.enter(func() {
		_ = http.NewResponseController(w).SetReadDeadline(receivedAt) // fails only on a dead connection
	})
	defer memory.leave()
	claims, body, err := h.read(w, r, signers, memory)
	if err != nil {
		// Without this the server waits for a body that nobody reads before it
		// sends the answer.
		w.Header().Set("Connection", "close")
		return Kept{}, err
	}
	event := web.EventOf(w)
	event.Count("bytes", len(body))
	signedBy, err := verify(claims, body)
	if err != nil {
		return Kept{}, err
	}
	if err := memory.verify(); err != nil {
		return Kept{}, err
	}
	web.Vouch(r.Context())
	h.suspicion.passed()
	h.lastSigned.Store(receivedAt.UnixNano())
	h.metrics.verified.WithLabelValues(signedBy).Inc()

	d := h.parser.Parse(flowparse.Input{
		Body:           body,
		Event:          r.Header.Get("X-Webhook-Event"),
		IdempotencyKey: r.Header.Get("X-Idempotency-Key"),
		ReceivedAt:     receivedAt,
	})
	kept := Kept{}
	if len(d.Responses)+len(d.Rejects)+len(d.Statuses) > 0 {
		if kept, err = h.sink.Keep(r.Context(), &d); err != nil {
			return Kept{}, err
		}
	}
	kept.Ignored += d.Ignored
	h.count(event, d.Source, kept)
	return kept, nil
}

// read returns the signatures that a delivery carries and, only if there is
// one, its body.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, signers []signer, memory *portion) ([]claim, []byte, error) {
	claims, err := readClaims(r, signers)
	if err != nil {
		return nil, nil, err
	}
	body, err := readBody(w, r, h.cfg.MaxBodyBytes, memory)
	return claims, body, err
}

// count notes the outcome of a delivery in its log line and in the metrics.
func (h *Handler) count(event *web.Event, source flowparse.Source, kept Kept) {
	event.Text("source", string(source))
	for _, c := range []struct {
		outcome string
		items   int
	}{
		{"stored", kept.Stored},
		{"duplicate", kept.Duplicate},
		{"ignored", kept.Ignored},
		{"quarantined", kept.Quarantined},
		{"spooled", kept.Spooled},
	} {
		if c.items > 0 {
			event.Count(c.outcome, c.items)
			h.metrics.items.WithLabelValues(string(source), c.outcome).Add(float64(c.items))
		}
	}
}

// refuse is the one place that maps errors to answers. Kapso and Meta both
// retry on anything but 200, so a 4xx is only for what they did not send.
func (h *Handler) refuse(w http.ResponseWriter, err error) {
	web.EventOf(w).Fail(err)
	switch {
	case errors.Is(err, errNoSignature), errors.Is(err, errSignatureMismatch):
		h.metrics.refused.Inc()
		if errors.Is(err, errSignatureMismatch) && h.suspicion.failed() {
			web.EventOf(w).Text("hint", "signatures fail and none passes: wrong secret?")
		}
		web.Problem(w, http.StatusUnauthorized, "The signature is missing, malformed or wrong. Check the webhook's secret.")
	case errors.Is(err, errEncodedBody):
		web.Problem(w, http.StatusUnsupportedMediaType, "Send the body as it is, without a Content-Encoding.")
	case errors.Is(err, errBodyTooLarge):
		web.Problem(w, http.StatusRequestEntityTooLarge, "The body is larger than "+strconv.FormatInt(h.cfg.MaxBodyBytes, 10)+" bytes.")
	case errors.Is(err, errBodyTooSlow):
		web.Problem(w, http.StatusRequestTimeout, "The body did not arrive in time.")
	case errors.Is(err, errBodyIncomplete):
		web.Problem(w, http.StatusBadRequest, "The body ended early.")
	case errors.Is(err, ErrUnavailable), errors.Is(err, errCrowded):
		w.Header().Set("Retry-After", "10")
		web.Problem(w, http.StatusServiceUnavailable, "The delivery could not be stored now. Send it again.")
	default:
		web.Problem(w, http.StatusInternalServerError, "")
	}
}

// handshake answers Meta's verification of the address.
func (h *Handler) handshake(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	token := q.Get("hub.verify_token")
	if q.Get("hub.mode") != "subscribe" || subtle.ConstantTimeCompare([]byte(token), []byte(h.cfg.MetaVerifyToken)) != 1 {
		web.EventOf(w).Text("reason", "verify token does not match")
		web.Problem(w, http.StatusForbidden, "The verify token does not match META_VERIFY_TOKEN.")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = strings.NewReader(q.Get("hub.challenge")).WriteTo(w) // a sender that is gone misses its answer
}
