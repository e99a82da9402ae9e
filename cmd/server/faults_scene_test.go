package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"flowkeep/internal/simulate"
)

// The load: enough that every moment has deliveries under way, and little
// enough that the machine also has time for the fault.
const (
	singlesPerSecond = 250
	batchesPerSecond = 10
	batchItems       = 8
	drainLimit       = 3 * time.Minute
	recoverLimit     = time.Minute
)

// scene is a flowkeep with its Postgres, under load.
type scene struct {
	b        *testing.B
	fault    fault
	postgres *faultPostgres
	url      string // of the database, as the server is told
	dataDir  string
	environ  []string // further variables of the server's
	server   *process
	route    *route
	ledger   *ledger
	seed     int64 // of the traffic; 0: new each time

	stopLoad func()
	loaded   time.Duration // how long there was load
	rows     []faultRow
}

func newScene(b *testing.B, f fault) *scene {
	b.Helper()
	s := &scene{b: b, fault: f, dataDir: b.TempDir(), ledger: newLedger(), stopLoad: func() {}}
	s.route = &route{inner: &http.Transport{
		MaxIdleConnsPerHost: 1024, DisableCompression: true, ResponseHeaderTimeout: kapsoLimit,
	}}
	b.Cleanup(s.route.inner.CloseIdleConnections)
	b.Cleanup(func() { s.stopLoad() })
	return s
}

// begin starts Postgres and the server, and puts them under load.
func (s *scene) begin() {
	s.b.Helper()
	s.postgres = newFaultPostgres(s.b)
	s.postgres.start()
	s.url = s.postgres.url()
	s.start()
	s.load()
}

// start runs the server and lets the load find it.
func (s *scene) start() {
	s.b.Helper()
	s.server = startServer(s.b, append([]string{
		"DATABASE_URL=" + s.url, "KAPSO_WEBHOOK_SECRET=" + testSecret, "FLOWKEEP_DATA_DIR=" + s.dataDir,
	}, s.environ...)...)
	s.route.leadTo(s.server.url)
}

// end sends the server a signal and waits for its end.
func (s *scene) end(sig syscall.Signal) error {
	s.b.Helper()
	if err := s.server.cmd.Process.Signal(sig); err != nil {
		s.b.Fatal(err)
	}
	return s.server.wait(20 * time.Second)
}

// load sends until stopLoad: singles of every kind, and batches beside them.
func (s *scene) load() {
	s.b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	begun := time.Now()
	s.ledger.beginLoad()
	send := func(rate float64, concurrency, batch int, seed int64) {
		_, err := simulate.Run(ctx, simulate.Config{
			URL: "http://flowkeep.invalid", Secret: testSecret, Rate: rate, Concurrency: concurrency, Batch: batch, Seed: seed,
			Mix:   simulate.Mix{Default: 50, Custom: 30, Other: 5, Duplicate: 8, Odd: 7},
			Retry: []time.Duration{time.Second, 3 * time.Second}, OnAnswer: s.ledger.note, Transport: s.route,
		})
		if err != nil {
			s.b.Error(err)
		}
	}
	second := s.seed
	if second != 0 {
		second++ // the same would give other messages the same ids
	}
	running.Go(func() { send(singlesPerSecond, 400, 1, s.seed) })
	running.Go(func() { send(batchesPerSecond, 50, batchItems, second) })
	s.stopLoad = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		s.ledger.endLoad()
		s.loaded += time.Since(begun)
	})
}

// route carries requests to wherever the server listens now. What is under way
// when the load ends is waited for: cut off, it would count as not answered.
type route struct {
	inner *http.Transport
	host  atomic.Pointer[string]
}

func (r *route) leadTo(url string) {
	host := url[len("http://"):]
	r.host.Store(&host)
}

func (r *route) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(context.WithoutCancel(req.Context()))
	req.URL.Host = *r.host.Load()
	return r.inner.RoundTrip(req)
}

// under lets the load go on for a while.
func (s *scene) under(d time.Duration) { <-time.After(d) }

// goesOn waits until further deliveries are acknowledged, and storesAgain until
// they go into the database at once.
func (s *scene) goesOn() {
	s.b.Helper()
	before := s.ledger.now().acknowledged
	eventually(s.b, recoverLimit, "deliveries are acknowledged", func() bool { return s.ledger.now().acknowledged > before+10 })
}

func (s *scene) storesAgain() {
	s.b.Helper()
	before := s.ledger.now().items.Stored
	eventually(s.b, recoverLimit, "deliveries are stored at once", func() bool { return s.ledger.now().items.Stored > before+10 })
}

// ready asks the server's /readyz; it is zero if nobody answers.
func (s *scene) ready() (answer readyAnswer) {
	resp, err := http.Get(s.server.url + "/readyz")
	if err != nil {
		return answer
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return readyAnswer{}
	}
	return answer
}

// finish ends the load, waits until the spool is drained, and makes the full
// check.
func (s *scene) finish() {
	s.b.Helper()
	s.stopLoad()
	row := faultRow{fault: s.fault.name, times: s.fault.times, spanned: s.loaded, counts: s.ledger.restart()}
	s.loaded = 0
	defer func() { s.rows = append(s.rows, row) }()
	eventually(s.b, drainLimit, "the spool is drained", func() bool { return s.ready().Status == "ok" })
	row.verdict, row.checked = s.ledger.check(s.b, s.postgres.admin()), true
	if row.verdict != (verdict{}) {
		s.b.Errorf("%+v", row.verdict)
	}
	if len(row.counts.wrong) > 0 {
		s.b.Errorf("%q", row.counts.wrong)
	}
	if row.counts.cut > 0 && !s.fault.mayCut {
		s.b.Errorf("%d attempts without an answer", row.counts.cut)
	}
	if row.counts.acknowledged == 0 {
		s.b.Error("nothing was acknowledged")
	}
}

// remark adds to the last row's name, and injectedBy says there that the fault
// was injected otherwise.
func (s *scene) remark(text string) {
	s.rows[len(s.rows)-1].remark = fmt.Sprintf(" (%s)", text)
}

func (s *scene) injectedBy(means string) {
	if means != "" {
		s.remark("by " + means)
	}
}
