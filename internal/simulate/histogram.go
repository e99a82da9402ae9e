package simulate

import (
	"math"
	"math/bits"
	"time"
)

// A histogram counts durations in log-linear buckets: 32 to each power of two,
// so a quantile is at most about 3 % too high, and memory is constant however
// long a run lasts.
type histogram struct {
	buckets [subBuckets * (histogramBits - subBits + 1)]int64
	count   int64
	max     time.Duration
}

const (
	subBits       = 5
	subBuckets    = 1 << subBits
	histogramBits = 40 // nanoseconds: up to 18 minutes; longer ones share the last bucket
)

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.count++
	h.max = max(h.max, d)
	h.buckets[bucketOf(min(d, 1<<histogramBits-1))]++
}

// bucketOf maps a duration to its bucket: exact below subBuckets, then the
// exponent and the subBits bits below the leading one.
func bucketOf(d time.Duration) int {
	v := uint64(d) //nolint:gosec // never negative, see add
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift+1)<<subBits + int(v>>shift) - subBuckets //nolint:gosec // v>>shift is below 2*subBuckets
}

// upperBound is the largest duration in a bucket.
func upperBound(bucket int) time.Duration {
	if bucket < subBuckets {
		return time.Duration(bucket)
	}
	shift := bucket>>subBits - 1
	return time.Duration((bucket&(subBuckets-1)+subBuckets+1)<<shift - 1)
}

// quantile returns the duration that the share q (0 to 1) of all durations
// does not exceed, zero without any.
func (h *histogram) quantile(q float64) time.Duration {
	rank := max(int64(math.Ceil(q*float64(h.count))), 1)
	var seen int64
	for i, n := range h.buckets {
		if seen += n; seen >= rank {
			return min(upperBound(i), h.max)
		}
	}
	return h.max
}
