package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// runs are measurements, those of one trial in the order of their rounds.
type runs []measurement

func (r runs) of(sink string, clients int) runs {
	var some runs
	for _, m := range r {
		if m.sink == sink && m.clients == clients {
			some = append(some, m)
		}
	}
	return some
}

// What can be asked of a measurement, in the report's units.
func rate(m measurement) float64        { return m.rate }
func p50(m measurement) float64         { return m.p50.Seconds() * 1e3 }
func p99(m measurement) float64         { return m.p99.Seconds() * 1e3 }
func serverCPU(m measurement) float64   { return m.server.Seconds() * 1e6 }
func postgresCPU(m measurement) float64 { return m.postgres.Seconds() * 1e6 }
func loaderCPU(m measurement) float64   { return m.loader.Seconds() * 1e6 }
func bothCPU(m measurement) float64     { return serverCPU(m) + postgresCPU(m) }
func peakMiB(m measurement) float64     { return float64(m.peak) / (1 << 20) }
func refused(m measurement) float64     { return float64(m.refused) }

func (r runs) values(of func(measurement) float64) []float64 {
	var all []float64
	for _, m := range r {
		all = append(all, of(m))
	}
	return all
}

func (r runs) median(of func(measurement) float64) float64 { return median(r.values(of)) }

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return math.NaN()
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// ratios compares what stood side by side: one value for each round.
func ratios(top, bottom runs, of func(measurement) float64) []float64 {
	var all []float64
	for i := range top {
		all = append(all, of(top[i])/of(bottom[i]))
	}
	return all
}

// report is the result of BenchmarkServer as text, which is also Markdown.
type report struct {
	machine string
	fast    runs
	slow    runs
	noSlow  string // why there is no slow
}

func (r report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", r.machine)
	fmt.Fprintf(&b, "Rounds: %d, of %v a run. Shown are medians, of peak memory the highest, of refused the sum. CPU is µs a request.\n\n", *benchRounds, *benchSpan)
	writeRuns(&b, r.fast)
	if r.slow != nil {
		fmt.Fprintf(&b, "\nWith %v added to each flush of the write-ahead log:\n\n", flushDelay)
		writeRuns(&b, r.slow)
	}
	b.WriteString("\nRatios are taken within each round: their median, and from the lowest to the highest.\n\n")
	writeTargets(&b, r.targets())
	if r.noSlow != "" {
		fmt.Fprintf(&b, "\n%s\n", r.noSlow)
	}
	if !procKnown {
		b.WriteString("\nCPU and memory of the server and Postgres are measured on Linux only.\n")
	}
	b.WriteString("\n`nothing` stores nothing: the floor. `insert` is one INSERT a request, prepared, pool of 16. `writer` is flowkeep.\n")
	fmt.Fprintf(&b, "Reproduce with `make bench`, which runs `go test ./cmd/server -run '^$' -bench '^BenchmarkServer$' -benchtime 1x -timeout 0 -rounds %d -span %v`.\n\n", *benchRounds, *benchSpan)
	return b.String()
}

func writeRuns(b *strings.Builder, all runs) {
	b.WriteString("| clients | sink | rows/s | p50 ms | p99 ms | server CPU | Postgres CPU | loader CPU | peak MiB | refused |\n")
	b.WriteString("|---:|:---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, clients := range []int{1, 32, mostClients} {
		for _, sink := range []string{sinkNothing, sinkInsert, sinkWriter} {
			r := all.of(sink, clients)
			if r == nil {
				continue
			}
			fmt.Fprintf(b, "| %7d | %-7s | %6.0f | %6.2f | %6.2f | %s | %s | %4.0f | %s | %4.0f |\n", clients, sink,
				r.median(rate), r.median(p50), r.median(p99), ifProc("%4.0f", r.median(serverCPU)), ifProc("%4.0f", r.median(postgresCPU)),
				r.median(loaderCPU), ifProc("%5.1f", slices.Max(r.values(peakMiB))), sum(r.values(refused)))
		}
	}
}

// ifProc formats what only /proc can tell.
func ifProc(format string, value float64) string {
	if !procKnown {
		return "–"
	}
	return fmt.Sprintf(format, value)
}

func sum(values []float64) (all float64) {
	for _, v := range values {
		all += v
	}
	return all
}

// target is a figure that was promised; values has one of it for each round.
type target struct {
	what    string
	values  []float64
	value   float64 // the one that counts
	atLeast bool    // else at most
	limit   float64
}

func (r report) targets() []target {
	nothing, insert, writer := r.fast.of(sinkNothing, mostClients), r.fast.of(sinkInsert, mostClients), r.fast.of(sinkWriter, mostClients)
	list := []target{
		ratioTarget("rows/s, writer to nothing, 128 clients", ratios(writer, nothing, rate), true, 0.55),
		ratioTarget("rows/s, writer to insert, 128 clients", ratios(writer, insert, rate), true, 1.5),
		ratioTarget("p50, writer to insert, 1 client", ratios(r.fast.of(sinkWriter, 1), r.fast.of(sinkInsert, 1), p50), false, 1.25),
	}
	if procKnown {
		peaks := writer.values(peakMiB)
		list = append(
			list,
			ratioTarget("CPU of server and Postgres, writer to insert, 128 clients", ratios(writer, insert, bothCPU), false, 0.65),
			target{"peak memory of the server, writer, 128 clients, MiB", peaks, slices.Max(peaks), false, 48},
		)
	}
	refusals := writer.values(refused)
	list = append(list, target{"refused, writer, 128 clients", refusals, sum(refusals), false, 0})
	if r.slow != nil {
		list = append(list, ratioTarget("slow disk: rows/s, writer to insert, 128 clients",
			ratios(r.slow.of(sinkWriter, mostClients), r.slow.of(sinkInsert, mostClients), rate), true, 4))
	}
	return list
}

func ratioTarget(what string, values []float64, atLeast bool, limit float64) target {
	return target{what, values, median(values), atLeast, limit}
}

func writeTargets(b *strings.Builder, list []target) {
	b.WriteString("| | measured | rounds | target | |\n|:---|---:|:---:|---:|:---|\n")
	for _, t := range list {
		bound, met := "≤", t.value <= t.limit
		if t.atLeast {
			bound, met = "≥", t.value >= t.limit
		}
		word := "not met"
		if met {
			word = "met"
		}
		fmt.Fprintf(b, "| %-58s | %6.2f | %.2f–%.2f | %s %v | %s |\n", t.what, t.value, slices.Min(t.values), slices.Max(t.values), bound, t.limit, word)
	}
}
