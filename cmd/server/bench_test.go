package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The benchmarks of the whole server. They compare ways to keep a delivery on
// the real App, in a process of its own, on a real Postgres with fsync on; the
// loader is this process. The defaults are small, so that "go test -bench ."
// stays short: the Makefile's targets give the real values.
//
// Nothing here fails for being slow. A row that was acknowledged and is not in
// the table fails the benchmark.
var (
	benchRounds   = flag.Int("rounds", 1, "BenchmarkServer, BenchmarkFullTable: how often each run is repeated")
	benchSpan     = flag.Duration("span", time.Second, "how long a run is measured")
	benchSoak     = flag.Duration("soak", 5*time.Second, "BenchmarkSoak: how long")
	benchRate     = flag.Float64("rate", 1000, "BenchmarkSoak: deliveries a second; 0 = as fast as they are answered")
	benchFill     = flag.Int("fill", 20_000, "BenchmarkFullTable, BenchmarkQueries, BenchmarkExport: rows in the table before the runs")
	benchSink     = flag.String("sink", sinkWriter, "BenchmarkProfile: "+sinkNothing+", "+sinkInsert+" or "+sinkWriter)
	benchProfiles = flag.String("profiles", "", "BenchmarkProfile: folder for the profiles")
)

const (
	mostClients = 128
	flushDelay  = 5 * time.Millisecond
)

// BenchmarkServer compares the writer with one INSERT a request and with
// nothing at all, at several numbers of clients, then on a slow disk.
func BenchmarkServer(b *testing.B) {
	var r report
	pg := startBenchPostgres(b)
	r.machine = machine(b, pg)
	r.fast = compare(b, pg, []string{sinkNothing, sinkInsert, sinkWriter}, []int{1, 32, mostClients})
	pg.stop(b)
	if slow, whyNot := startSlowPostgres(b, pg); slow != nil {
		r.slow = compare(b, slow, []string{sinkInsert, sinkWriter}, []int{mostClients})
		slow.stop(b)
	} else {
		r.noSlow = whyNot
	}
	fmt.Fprint(os.Stdout, r.String())
	reportRate(b, r.fast.of(sinkWriter, mostClients))
}

// compare runs every sink at every number of clients, round by round and in a
// new order each time, so that a machine that slows down treats all alike.
func compare(b *testing.B, pg *benchPostgres, sinks []string, clients []int) runs {
	b.Helper()
	var all runs
	for round := range *benchRounds {
		for c, n := range clients {
			for i := range sinks {
				t := trial{sink: sinks[(round+c+i)%len(sinks)], clients: n}
				m := t.run(b, pg)
				fmt.Fprintf(os.Stderr, "round %d of %d: %3d clients, %-7s %6.0f rows/s\n", round+1, *benchRounds, n, t.sink, m.rate)
				all = append(all, m)
			}
		}
	}
	return all
}

// BenchmarkFullTable compares the writer's rate on an empty table and on one
// that holds -fill rows.
func BenchmarkFullTable(b *testing.B) {
	pg := startBenchPostgres(b)
	var empty, full runs
	for range *benchRounds {
		empty = append(empty, trial{sink: sinkWriter, clients: mostClients}.run(b, pg))
	}
	pg.fill(b, *benchFill)
	for range *benchRounds {
		full = append(full, trial{sink: sinkWriter, clients: mostClients, keepRows: true}.run(b, pg))
	}
	fmt.Fprintf(os.Stdout, "%s\n| table | rows/s | p50 ms | p99 ms |\n|---|---:|---:|---:|\n", machine(b, pg))
	for _, line := range []struct {
		name string
		runs runs
	}{{"empty", empty}, {fmt.Sprintf("%d rows", *benchFill), full}} {
		fmt.Fprintf(os.Stdout, "| %s | %.0f | %.2f | %.2f |\n", line.name,
			line.runs.median(rate), line.runs.median(p50), line.runs.median(p99))
	}
	fmt.Fprintf(os.Stdout, "\nFull against empty: %.2f in rows/s (medians of %d).\n", full.median(rate)/empty.median(rate), *benchRounds)
	reportRate(b, full)
}

// BenchmarkProfile runs one sink under load and leaves the server's CPU and
// allocation profiles in a folder.
func BenchmarkProfile(b *testing.B) {
	dir := *benchProfiles
	if dir == "" {
		dir = b.TempDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	pg := startBenchPostgres(b)
	m := trial{sink: *benchSink, clients: mostClients, profiles: dir}.run(b, pg)
	fmt.Fprintf(os.Stdout, "%s, %d clients: %.0f rows/s, %.0f µs CPU a request in the server, %.0f in Postgres\n",
		*benchSink, mostClients, m.rate, serverCPU(m), postgresCPU(m))
	fmt.Fprintf(os.Stdout, "go tool pprof -top %s\ngo tool pprof -top -sample_index=alloc_space %s\n",
		filepath.Join(dir, cpuProfile), filepath.Join(dir, allocProfile))
	reportRate(b, runs{m})
}

// reportRate puts the rate in place of a time for each operation, which would
// mean nothing here.
func reportRate(b *testing.B, r runs) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(r.median(rate), "rows/s")
}
