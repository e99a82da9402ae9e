package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	items    *prometheus.CounterVec // by source and outcome
	verified *prometheus.CounterVec // by secret
	refused  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, h *Handler) metrics {
	m := metrics{
		items: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flowkeep_items_total",
			Help: "Items of signed deliveries by the shape they came in and what became of them.",
		}, []string{"source", "outcome"}),
		verified: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flowkeep_signatures_verified_total",
			Help: "Signed deliveries by the secret that matched, numbered as configured.",
		}, []string{"secret"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flowkeep_signatures_refused_total",
			Help: "Deliveries whose signature was missing, malformed or wrong.",
		}),
	}
	inFlight := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "flowkeep_in_flight_bytes",
		Help: "Memory held by the bodies of deliveries that are being read or stored.",
	}, func() float64 { return float64(h.intake.bytes()) })
	failing := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "flowkeep_signatures_failing",
		Help: "1 while signatures fail and none passes: most likely a wrong secret.",
	}, func() float64 {
		if h.SignaturesFail() {
			return 1
		}
		return 0
	})
	silence := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "flowkeep_seconds_since_signed_delivery",
		Help: "Seconds since a delivery with a valid signature arrived, or since the start. A paused webhook shows here.",
	}, func() float64 { return time.Since(time.Unix(0, h.lastSigned.Load())).Seconds() })
	reg.MustRegister(m.items, m.verified, m.refused, inFlight, failing, silence)
	return m
}
