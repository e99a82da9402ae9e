package simulate

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Report says what was sent and how it was answered.
type Report struct {
	Deliveries int64          // started
	Messages   int64          // in them
	Kinds      map[Kind]int64 // deliveries by kind
	Attempts   int64          // requests, retries included
	Bytes      int64          // of bodies, in all attempts

	Accepted   int64 // deliveries answered 200
	GivenUp    int64 // deliveries whose last attempt failed
	Unfinished int64 // deliveries that the end of the run cut off or left waiting for a retry

	Statuses map[int]int64    // attempts by HTTP status
	Errors   map[string]int64 // attempts without a complete answer: timeout, refused, connection lost, cut off, other

	Items      Counts // summed from the bodies of the 200s
	Uncounted  int64  // 200s whose body held no such counts
	Unexpected int64  // 200s whose counts are not those of a correct receiver

	Elapsed time.Duration
	Rate    float64       // accepted deliveries a second
	Late    time.Duration // how far sending fell behind Config.Rate at worst: large if Concurrency is too low
	Latency Latency       // of complete answers, whatever their status
}

// Latency holds quantiles, each at most about 3 % too high.
type Latency struct{ P50, P90, P99, Max time.Duration }

// line is the report in brief.
func (r Report) line() string {
	return fmt.Sprintf("%d sent  %d accepted (%.0f/s)  %d failed attempts  %d given up  p99 %v",
		r.Deliveries, r.Accepted, r.Rate, r.Attempts-r.Accepted, r.GivenUp, round(r.Latency.P99))
}

// String returns the report as a small table.
func (r Report) String() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s", name)
		fmt.Fprintf(&b, format, args...)
		b.WriteByte('\n')
	}
	row("deliveries", "%d with %d messages in %v", r.Deliveries, r.Messages, r.Elapsed.Round(time.Millisecond))
	row("accepted", "%d (%.1f/s)", r.Accepted, r.Rate)
	if r.GivenUp > 0 || r.Unfinished > 0 {
		row("not accepted", "%d given up, %d unfinished", r.GivenUp, r.Unfinished)
	}
	row("attempts", "%d, %.1f MB", r.Attempts, float64(r.Bytes)/1e6)
	for _, status := range slices.Sorted(maps.Keys(r.Statuses)) {
		row("", "%-8d %d %s", r.Statuses[status], status, http.StatusText(status))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Errors)) {
		row("", "%-8d %s", r.Errors[name], name)
	}
	i := r.Items
	row("items", "%d stored, %d duplicate, %d ignored, %d quarantined, %d spooled",
		i.Stored, i.Duplicate, i.Ignored, i.Quarantined, i.Spooled)
	if r.Uncounted > 0 || r.Unexpected > 0 {
		row("", "%d answers without counts, %d with unexpected ones", r.Uncounted, r.Unexpected)
	}
	row("latency", "p50 %v, p90 %v, p99 %v, max %v", round(r.Latency.P50), round(r.Latency.P90),
		round(r.Latency.P99), round(r.Latency.Max))
	if r.Late >= 100*time.Millisecond {
		row("behind", "%v at worst: the rate was not kept (try more concurrency)", round(r.Late))
	}
	return b.String()
}

// round keeps three digits or so.
func round(d time.Duration) time.Duration {
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
}
