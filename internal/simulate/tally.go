package simulate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tally adds up the answers of all workers.
type tally struct {
	start time.Time
	hook  func(Sent, Answer)

	hookMu sync.Mutex // held while the hook runs, so that its calls never overlap

	mu      sync.Mutex
	report  Report
	latency histogram
}

func newTally(start time.Time, hook func(Sent, Answer)) *tally {
	return &tally{start: start, hook: hook, report: Report{
		Kinds: map[Kind]int64{}, Statuses: map[int]int64{}, Errors: map[string]int64{},
	}}
}

// record counts one attempt; cut says that the run's context had ended.
func (t *tally) record(s Sent, a Answer, cut bool) {
	t.count(&s, &a, cut)
	if t.hook != nil {
		t.hookMu.Lock()
		defer t.hookMu.Unlock()
		t.hook(s, a)
	}
}

func (t *tally) count(s *Sent, a *Answer, cut bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.report
	r.Attempts++
	r.Bytes += int64(len(s.Body))
	if a.Attempt == 1 {
		r.Deliveries++
		r.Messages += int64(len(s.Items))
		r.Kinds[s.Kind]++
	}
	switch {
	case a.Err != nil:
		r.Errors[errorName(a.Err, cut)]++
	default:
		r.Statuses[a.Status]++
		t.latency.add(a.Latency)
	}
	switch {
	case a.OK():
		r.Accepted++
		r.Items.add(a.Counts)
		if a.Counts == (Counts{}) {
			r.Uncounted++
		} else if !s.Explains(a.Counts) {
			r.Unexpected++
		}
	case a.Last && (a.Err == nil || !cut):
		r.GivenUp++
	}
}

func (t *tally) noteLate(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.Late = max(t.report.Late, d)
}

// snapshot returns the report so far. Its maps are still in use.
func (t *tally) snapshot() Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.report
	r.Elapsed = time.Since(t.start)
	if r.Elapsed > 0 {
		r.Rate = float64(r.Accepted) / r.Elapsed.Seconds()
	}
	r.Unfinished = r.Deliveries - r.Accepted - r.GivenUp
	r.Latency = Latency{
		P50: t.latency.quantile(0.5), P90: t.latency.quantile(0.9),
		P99: t.latency.quantile(0.99), Max: t.latency.max,
	}
	return r
}

// showProgress rewrites one line on w until the function that it returns is
// called.
func (t *tally) showProgress(w io.Writer) (stop func()) {
	if w == nil {
		return func() {}
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprintf(w, "\r%-78s", t.snapshot().line())
			case <-done:
				fmt.Fprintf(w, "\r%-78s\n", t.snapshot().line())
				return
			}
		}
	}()
	return func() {
		close(done)
		<-gone
	}
}

// errorName groups the errors by what they say of the other side.
func errorName(err error, cut bool) string {
	var netErr net.Error
	switch {
	case cut:
		return "cut off"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		// net/http has only text for a kept-alive connection that went as we wrote.
		strings.Contains(err.Error(), "connection loss"), strings.Contains(err.Error(), "closed idle connection"):
		return "connection lost"
	}
	return "other"
}
