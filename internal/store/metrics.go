package store

import "github.com/prometheus/client_golang/prometheus"

// writerMetrics is what a Writer counts.
type writerMetrics struct {
	commitSeconds prometheus.Histogram
	batchRows     prometheus.Histogram
	failures      prometheus.Counter
	quarantined   *prometheus.CounterVec // by reason
	erased        prometheus.Counter
}

func newWriterMetrics() writerMetrics {
	return writerMetrics{
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "flowkeep_commit_seconds",
			Help:    "How long a batch took, from the first statement to its end, committed or not.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2, 4},
		}),
		batchRows: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "flowkeep_batch_rows",
			Help:    "Items that were committed together.",
			Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, maxBatchRows},
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flowkeep_commit_failures_total",
			Help: "Batches that the database did not take.",
		}),
		quarantined: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flowkeep_quarantined_total",
			Help: "Items that went to quarantine, by reason; a retry of the same bytes counts again.",
		}, []string{"reason"}),
		erased: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flowkeep_erased_items_total",
			Help: "Items that were answered and not kept, because their sender or they themselves were erased.",
		}),
	}
}

// Collectors returns the writer's and its pool's metrics, for registration.
func (w *Writer) Collectors() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		w.metrics.commitSeconds, w.metrics.batchRows, w.metrics.failures, w.metrics.quarantined, w.metrics.erased,
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "flowkeep_quarantine_turned_away_total",
			Help: "Items that were answered and not kept, because quarantine is full.",
		}, func() float64 { return float64(w.TurnedAway()) }),
		gauge("flowkeep_writer_queue_items", "Items that wait for the writer.",
			func() float64 { return float64(w.Queued()) }),
		gauge("flowkeep_pool_sessions", "Sessions that the pool holds open.",
			func() float64 { return float64(w.db.pool.Stat().TotalConns()) }),
		gauge("flowkeep_pool_sessions_in_use", "Sessions that are in use.",
			func() float64 { return float64(w.db.pool.Stat().AcquiredConns()) }),
	}
}
