package main

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// flatGrowth is how much more memory than after the first part of a soak still
// counts as flat: less than what garbage collection moves it by.
const flatGrowth = 1.10

// BenchmarkSoak sends for a long time and watches the server's memory.
func BenchmarkSoak(b *testing.B) {
	pg := startBenchPostgres(b)
	fmt.Fprintf(os.Stdout, "\n%s\n| after | rows/s | p99 ms | memory MiB | peak MiB | refused |\n|---:|---:|---:|---:|---:|---:|\n", machine(b, pg))
	s := startBenchServer(b, pg.url, sinkWriter, "")
	load := newLoad(s.url, mostClients)
	defer load.close()

	var stored, notAccepted int64
	var resident []int64
	step := min(time.Minute, *benchSoak/5)
	for start := time.Now(); time.Since(start) < *benchSoak; {
		report := load.run(b, step, *benchRate)
		m := memoryOf(b, s.cmd.Process.Pid)
		stored += report.Items.Stored
		notAccepted += report.Attempts - report.Accepted
		resident = append(resident, m.now)
		fmt.Fprintf(os.Stdout, "| %v | %.0f | %.2f | %.1f | %.1f | %d |\n", time.Since(start).Round(time.Second), report.Rate,
			report.Latency.P99.Seconds()*1e3, float64(m.now)/(1<<20), float64(m.peak)/(1<<20), report.Attempts-report.Accepted)
		if report.Items.Stored != report.Accepted || report.Unexpected > 0 {
			b.Fatalf("each answer should count one stored row:\n%s\n%s", report, s.out.tail())
		}
	}
	if rows := pg.count(b); rows < stored || rows > stored+notAccepted {
		b.Fatalf("%d rows in the table, %d were acknowledged\n%s", rows, stored, s.out.tail())
	}
	fmt.Fprintf(os.Stdout, "\n%d rows, each of them there. %s\n", stored, flatness(resident))
	s.stop(b)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(stored)/benchSoak.Seconds(), "rows/s")
}

// flatness compares the end with the first reading, which is after the caches
// and pools of a new process have filled.
func flatness(resident []int64) string {
	if !procKnown || len(resident) < 2 {
		return "Whether memory is flat was not measured."
	}
	growth := float64(resident[len(resident)-1]) / float64(resident[0])
	word := "flat"
	if growth > flatGrowth {
		word = "not flat"
	}
	return fmt.Sprintf("Memory is %s: %.2f times the first reading at the end.", word, growth)
}
