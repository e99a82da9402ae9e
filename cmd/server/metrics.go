package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"flowkeep/internal/spool"
)

// registerMetrics adds what no room counts by itself: the spool, whether the
// database is away, the process and the build.
func (a *App) registerMetrics(reg prometheus.Registerer) {
	reg.MustRegister(a.writer.Collectors()...)
	reg.MustRegister(a.old.Collectors()...)
	reg.MustRegister(a.backfill.Collectors()...)
	reg.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		a.spoolGauge("flowkeep_spool_records", "Records that wait in the spool.",
			func(s spool.Stats) float64 { return float64(s.Records) }),
		a.spoolGauge("flowkeep_spool_bytes", "Bytes that wait in the spool.",
			func(s spool.Stats) float64 { return float64(s.Bytes) }),
		a.spoolGauge("flowkeep_spool_max_bytes", "Bytes that the spool may hold.",
			func(s spool.Stats) float64 { return float64(s.MaxBytes) }),
		a.spoolGauge("flowkeep_spool_oldest_seconds", "Age of the oldest record in the spool; 0 if it is empty.",
			func(s spool.Stats) float64 {
				if s.OldestAt.IsZero() {
					return 0
				}
				return max(0, time.Since(s.OldestAt).Seconds())
			}),
		a.spoolGauge("flowkeep_spool_failing", "1 while the spool's disk fails.",
			func(s spool.Stats) float64 { return flag01(s.Err != nil) }),
		a.spoolGauge("flowkeep_spool_set_aside", "Damaged spool files that wait for a person.",
			func(s spool.Stats) float64 { return float64(s.SetAside) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "flowkeep_database_away", Help: "1 while the database is taken for away and deliveries go to the spool.",
		}, func() float64 { return flag01(a.keeper.away.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "flowkeep_build_info", Help: "Always 1; the version is in the label.",
			ConstLabels: prometheus.Labels{"version": versionName()},
		}, func() float64 { return 1 }),
	)
}

func (a *App) spoolGauge(name, help string, value func(spool.Stats) float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
		func() float64 { return value(a.spool.Stats()) })
}

func flag01(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
