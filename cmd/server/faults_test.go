package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The fault suite: a real server process on a real Postgres with fsync on,
// under constant signed load, while its surroundings fail. After each fault
// every message that got a 200 must be in Postgres, once, as it was sent, and
// every refusal must have been a 503.
//
// It takes minutes and kills processes, so it is not among the tests: "make
// faults" and "make faults-short" run it. The default is the short form.
var faultsFull = flag.Bool("faults-full", false, "BenchmarkFaults: each fault as often and as long as is worth it")

// fault is one way in which the surroundings fail.
type fault struct {
	name   string
	times  int           // how often it is injected
	lasts  time.Duration // how long, where that matters
	mayCut bool          // the server itself ends, and with it what is under way
	inject func(*scene, fault)
}

// faultList returns the faults in the full or the short form.
func faultList(full bool) []fault {
	times := func(inFull, inShort int) int {
		if full {
			return inFull
		}
		return inShort
	}
	seconds := func(inFull, inShort int) time.Duration { return time.Duration(times(inFull, inShort)) * time.Second }
	list := []fault{
		{name: "kill -9 of the server", times: times(50, 5), mayCut: true, inject: killServer},
		{name: "kill -9 of Postgres, all its processes", times: times(20, 3), inject: killPostgres},
		{name: "Postgres away for 10 s", times: 1, lasts: 10 * time.Second, inject: stopPostgres},
		{name: "server killed with a filled spool, started without Postgres", times: times(10, 2), mayCut: true, inject: killServerWithSpool},
		{name: "restart of Postgres while idle", times: times(10, 2), inject: restartIdlePostgres},
		{name: fmt.Sprintf("Postgres frozen for %d s", times(15, 6)), times: 1, lasts: seconds(15, 6), inject: freezePostgres},
		{name: fmt.Sprintf("table locked for %d s", times(15, 6)), times: 1, lasts: seconds(15, 6), inject: lockTheTable},
		{name: "connection cut in mid-statement", times: times(200, 20), inject: cutConnections},
		{name: fmt.Sprintf("each statement delayed by 2 s, for %d s", times(30, 8)), times: 1, lasts: seconds(30, 8), inject: delayStatements},
		{name: "data folder on a full disk, Postgres away", times: times(3, 1), inject: fillDataFolder},
		{name: "SIGTERM", times: times(20, 3), mayCut: true, inject: terminateServer},
		{name: "clock set back or ahead by an hour", times: 1, inject: setClockBack},
		{name: "failover to a synchronous standby", times: 1, lasts: seconds(20, 8), inject: failOver},
	}
	if full {
		list = append(list, fault{name: "Postgres away for 200 s", times: 1, lasts: 200 * time.Second, inject: stopPostgres})
	}
	return list
}

// BenchmarkFaults injects every fault and prints a table.
func BenchmarkFaults(b *testing.B) {
	var rows []faultRow
	for _, f := range faultList(*faultsFull) {
		b.Run(f.name, func(b *testing.B) {
			s := newScene(b, f)
			defer func() {
				rows = append(rows, s.rows...)
				fmt.Fprint(os.Stderr, formatRows(s.rows))
			}()
			f.inject(s, f)
			b.ReportMetric(0, "ns/op") // would mean nothing
		})
	}
	form := "short form"
	if *faultsFull {
		form = "full form"
	}
	cpu, kernel := machineNames()
	fmt.Fprintf(os.Stdout, "\nFault suite, %s. %s, %d cores shared by loader, server and Postgres; %s; %s; PostgreSQL %s, fsync on.\n\n%s%s\n",
		form, cpu, runtime.NumCPU(), kernel, runtime.Version(), postgresVersion(b), rowsHeader, formatRows(rows))
}

// faultRow is a line of the table.
type faultRow struct {
	fault   string
	times   int
	counts  counts
	spanned time.Duration // under load
	checked bool          // the check after the fault was made
	verdict verdict
	remark  string
}

const rowsHeader = `| fault | times | load held, deliveries/s | acknowledged | refused (503) | cut | items spooled | items lost | items doubled | longest gap |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
`

func formatRows(rows []faultRow) string {
	var b strings.Builder
	for _, r := range rows {
		lost, doubled := "not checked", "not checked"
		if r.checked {
			lost, doubled = fmt.Sprint(r.verdict.lost), fmt.Sprint(r.verdict.doubled)
		}
		held := 0.0
		if r.spanned > 0 {
			held = float64(r.counts.acknowledged) / r.spanned.Seconds()
		}
		fmt.Fprintf(&b, "| %s%s | %d | %.0f | %d | %d | %d | %d | %s | %s | %.2f s |\n", r.fault, r.remark, r.times, held,
			r.counts.acknowledged, r.counts.refused, r.counts.cut, r.counts.items.Spooled, lost, doubled, r.counts.longestGap.Seconds())
	}
	return b.String()
}
