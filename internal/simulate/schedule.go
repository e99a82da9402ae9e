package simulate

import (
	"container/heap"
	"sync"
	"time"
)

// maxWaiting bounds the retries that wait. When so many do, no new delivery
// starts until one of them has its turn.
const maxWaiting = 1 << 20

// job is one attempt to make.
type job struct {
	due     time.Time
	index   int64
	attempt int // 1 for the first
}

// schedule hands out attempts in the order in which they are due. A waiting
// retry occupies no worker and holds no body.
type schedule struct {
	start    time.Time
	interval float64 // nanoseconds between new deliveries
	count    int64   // 0 = endless
	limit    int     // on waiting, see maxWaiting

	mu      sync.Mutex
	next    int64 // the next new delivery
	waiting jobHeap
}

func newSchedule(start time.Time, rate float64, count int) *schedule {
	p := &schedule{start: start, count: int64(count), limit: maxWaiting}
	if rate > 0 {
		p.interval = float64(time.Second) / rate
	}
	return p
}

// take returns the attempt that is due first, perhaps in the future, or false
// if there is none. An attempt that fails afterwards comes back through retry,
// by a worker that takes again: so none is stranded by workers that have left.
func (p *schedule) take(now time.Time) (job, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := p.count == 0 || p.next < p.count
	due := p.start.Add(time.Duration(float64(p.next) * p.interval))
	if len(p.waiting) > 0 {
		first := p.waiting[0].due
		if !fresh || len(p.waiting) >= p.limit || !first.After(now) || first.Before(due) {
			return heap.Pop(&p.waiting).(job), true
		}
	}
	if !fresh {
		return job{}, false
	}
	p.next++
	return job{due: due, index: p.next - 1, attempt: 1}, true
}

func (p *schedule) retry(j job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	heap.Push(&p.waiting, j)
}

// jobHeap implements heap.Interface, the earliest job first.
type jobHeap []job

func (h jobHeap) Len() int           { return len(h) }
func (h jobHeap) Less(i, k int) bool { return h[i].due.Before(h[k].due) }
func (h jobHeap) Swap(i, k int)      { h[i], h[k] = h[k], h[i] }
func (h *jobHeap) Push(j any)        { *h = append(*h, j.(job)) }
func (h *jobHeap) Pop() any {
	last := len(*h) - 1
	j := (*h)[last]
	*h = (*h)[:last]
	return j
}
