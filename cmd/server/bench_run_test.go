package main

import (
	"context"
	"net/http"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"flowkeep/internal/simulate"
)

// trial is one run of one sink.
type trial struct {
	sink     string
	clients  int
	keepRows bool   // do not empty the table before
	profiles string // folder for the server's profiles, if any
}

// measurement is what a trial found. CPU times are for one request.
type measurement struct {
	trial

	rate                     float64 // rows acknowledged a second
	p50, p99                 time.Duration
	server, postgres, loader time.Duration // CPU
	peak                     int64         // the server's resident memory at its highest, bytes
	refused                  int64         // requests without a 200
}

// run starts a server, warms it up, measures it, and checks that every row
// that it acknowledged is in the table.
func (t trial) run(b *testing.B, pg *benchPostgres) measurement {
	b.Helper()
	s := startBenchServer(b, pg.url, t.sink, t.profiles)
	load := newLoad(s.url, t.clients)
	defer load.close()
	load.run(b, max(*benchSpan/4, 200*time.Millisecond), 0)
	if !t.keepRows {
		pg.empty(b)
	}
	pg.checkpoint(b)
	runtime.GC()

	rowsBefore, cpuBefore := pg.count(b), cpuNow(b, s, pg)
	report := load.run(b, *benchSpan, 0)
	cpu := cpuNow(b, s, pg).minus(cpuBefore)
	m := measurement{
		trial: t, rate: float64(report.Items.Stored) / report.Elapsed.Seconds(),
		p50: report.Latency.P50, p99: report.Latency.P99,
		refused: report.Attempts - report.Accepted, peak: memoryOf(b, s.cmd.Process.Pid).peak,
	}
	if n := time.Duration(report.Accepted); n > 0 {
		m.server, m.postgres, m.loader = cpu.server/n, cpu.postgres/n, cpu.loader/n
	}
	want := report.Items.Stored
	if t.sink == sinkNothing {
		want = 0
	}
	checkRows(b, s, report, pg.count(b)-rowsBefore, want)
	s.stop(b)
	return m
}

// checkRows fails the benchmark for a missing row. A refused one may be in the
// table all the same: it was in doubt.
func checkRows(b *testing.B, s *benchServer, report simulate.Report, rows, want int64) {
	b.Helper()
	if report.Items.Stored != report.Accepted || report.Unexpected > 0 || report.Accepted == 0 {
		b.Fatalf("each answer should count one stored row:\n%s\n%s", report, s.out.tail())
	}
	if rows < want || rows > want+report.Attempts-report.Accepted {
		b.Fatalf("%d rows in the table, %d were acknowledged:\n%s\n%s", rows, want, report, s.out.tail())
	}
}

// load sends Flow responses over connections that it keeps between runs.
type load struct {
	url       string
	clients   int
	transport *http.Transport
}

func newLoad(url string, clients int) *load {
	return &load{url: url, clients: clients, transport: &http.Transport{
		MaxIdleConnsPerHost: clients, DisableCompression: true, ResponseHeaderTimeout: simulate.DefaultTimeout,
	}}
}

func (l *load) close() { l.transport.CloseIdleConnections() }

// run sends for span; rate 0 means as fast as the answers come.
func (l *load) run(b *testing.B, span time.Duration, perSecond float64) simulate.Report {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), span)
	defer cancel()
	mix, err := simulate.ParseMix("responses")
	if err != nil {
		b.Fatal(err)
	}
	report, err := simulate.Run(ctx, simulate.Config{
		URL: l.url, Secret: testSecret, Concurrency: l.clients, Rate: perSecond, Mix: mix, Transport: patient{l.transport},
	})
	if err != nil {
		b.Fatal(err)
	}
	return report
}

// patient waits for the answers under way when the time is up: what is cut off
// might be in the table, and rows could not be compared with answers.
type patient struct{ inner http.RoundTripper }

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	return p.inner.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
}

// cpuTimes is what each has used since it started.
type cpuTimes struct{ server, postgres, loader time.Duration }

func (t cpuTimes) minus(o cpuTimes) cpuTimes {
	return cpuTimes{t.server - o.server, t.postgres - o.postgres, t.loader - o.loader}
}

func cpuNow(b *testing.B, s *benchServer, pg *benchPostgres) cpuTimes {
	b.Helper()
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		b.Fatal(err)
	}
	return cpuTimes{
		server: cpuOf(b, s.cmd.Process.Pid), postgres: cpuOfFamily(b, pg.server.PID()),
		loader: time.Duration(self.Utime.Nano() + self.Stime.Nano()),
	}
}

// memory is that of a process, in bytes.
type memory struct{ now, peak int64 }

// flushTime is how long the disk below dir takes to make 8 KiB durable.
func flushTime(b *testing.B, dir string) time.Duration {
	b.Helper()
	f, err := os.CreateTemp(dir, "flush-")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	page := make([]byte, 8192)
	var times []float64
	for range 51 {
		if _, err := f.WriteAt(page, 0); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if err := flush(f); err != nil {
			b.Fatal(err)
		}
		times = append(times, float64(time.Since(start)))
	}
	return time.Duration(median(times))
}
