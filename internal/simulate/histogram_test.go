package simulate

import (
	"testing"
	"time"
)

func TestHistogram_Quantiles(t *testing.T) {
	t.Parallel()
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for i := 1000; i >= 1; i-- {
		h.add(time.Duration(i) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{
		0: time.Millisecond, 0.5: 500 * time.Millisecond, 0.9: 900 * time.Millisecond,
		0.99: 990 * time.Millisecond, 1: time.Second,
	} {
		if got := h.quantile(q); got < want || float64(got) > 1.032*float64(want) {
			t.Errorf("quantile %v is %v, want %v to 3 %% more", q, got, want)
		}
	}
	if h.max != time.Second {
		t.Errorf("max %v", h.max)
	}
}

func TestHistogram_BucketsCoverAllDurations(t *testing.T) {
	t.Parallel()
	last := -1
	for d := range time.Duration(1 << 14) {
		b := bucketOf(d)
		if b != last && b != last+1 || d > upperBound(b) || b > 0 && d <= upperBound(b-1) {
			t.Fatalf("%d is in bucket %d, which ends at %d, after bucket %d", d, b, upperBound(b), last)
		}
		last = b
	}
	var h histogram
	h.add(-time.Second)
	h.add(1000 * time.Hour)
	if got := h.quantile(1); h.buckets[0] != 1 || h.buckets[len(h.buckets)-1] != 1 || got > 1000*time.Hour {
		t.Errorf("the ends do not hold what is beyond them; quantile 1 is %v", got)
	}
}
