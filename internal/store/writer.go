package store

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
)

// ErrQueueFull means that more is waiting for the database than the writer may
// hold. It wraps ErrUnavailable.
var ErrQueueFull = unavailable(errors.New("writer queue is full"))

// ErrClosed means that the writer is shutting down. It wraps ErrUnavailable.
var ErrClosed = unavailable(errors.New("writer is closed"))

// maxBatchRows bounds one statement, and with maxBatchBytes the memory that it
// takes on both sides.
const (
	maxBatchRows  = 500
	maxBatchBytes = 16 << 20
)

// Writer commits together what is queued together. There is no timer: a writer
// that is free takes what is there, so a lone delivery waits for no company,
// and while one commit is under way the next batch gathers.
type Writer struct {
	db         *DB
	log        zerolog.Logger
	queueRows  int
	metrics    writerMetrics
	quarantine quarantineGate
	saw        func(flowID string)
	workers    sync.WaitGroup

	mu       sync.Mutex
	nonEmpty sync.Cond // on mu; the queue has entries, or the writer is closed
	queue    []entry
	closed   bool
}

// job is one delivery in the writer's hands.
type job struct {
	delivery *flowparse.Delivery
	results  []Result      // responses first, then rejects, then statuses
	pending  int           // entries without an end; guarded by Writer.mu
	err      error         // why some results are Unknown; guarded by Writer.mu
	left     bool          // nobody waits any more; guarded by Writer.mu
	done     chan struct{} // closed when pending is 0
}

// entry is one item of a job.
type entry struct {
	job  *job
	item int // index in job.results
}

// response returns the entry's response, or nil if it is none.
func (e entry) response() *flowparse.Response {
	if e.item < len(e.job.delivery.Responses) {
		return &e.job.delivery.Responses[e.item]
	}
	return nil
}

// reject returns the entry's reject, or nil if it is none.
func (e entry) reject() *flowparse.Reject {
	d := e.job.delivery
	if i := e.item - len(d.Responses); i >= 0 && i < len(d.Rejects) {
		return &d.Rejects[i]
	}
	return nil
}

// status returns the status of an entry that is neither.
func (e entry) status() *flowparse.SendStatus {
	d := e.job.delivery
	return &d.Statuses[e.item-len(d.Responses)-len(d.Rejects)]
}

func (e entry) bytes() int {
	if r := e.response(); r != nil {
		return len(r.Raw) + len(r.Answers)
	}
	if r := e.reject(); r != nil {
		return len(r.Body)
	}
	return len(e.status().FlowToken)
}

// NewWriter starts workers goroutines that commit batches of what Put hands
// them. queueRows bounds what waits. Close ends them.
func NewWriter(db *DB, workers, queueRows int, log zerolog.Logger) *Writer {
	w := &Writer{db: db, log: log, queueRows: queueRows, metrics: newWriterMetrics(), quarantine: quarantineGate{log: log}, saw: func(string) {}}
	w.nonEmpty.L = &w.mu
	for range workers {
		w.workers.Go(w.work)
	}
	return w
}

// Tell has saw called with the flow of each row that is committed, which can be
// empty. It must not wait. It is to be called before the first Put.
func (w *Writer) Tell(saw func(flowID string)) { w.saw = saw }

// Put makes the delivery's items durable and says what became of each,
// responses first, then rejects, then statuses. With an error, which wraps ErrUnavailable, a
// result other than Unknown is still true. When ctx ends first the whole
// delivery is in doubt: the results are nil, and everything may yet commit.
//
// The delivery must not change after Put, even if ctx ended.
func (w *Writer) Put(ctx context.Context, d *flowparse.Delivery) ([]Result, error) {
	n := len(d.Responses) + len(d.Rejects) + len(d.Statuses)
	if n == 0 {
		return nil, nil
	}
	j := &job{delivery: d, results: make([]Result, n), pending: n, done: make(chan struct{})}
	if err := w.admit(j); err != nil {
		return j.results, err
	}
	select {
	case <-j.done:
		return j.results, j.err
	case <-ctx.Done():
		w.mu.Lock()
		j.left = true
		w.mu.Unlock()
		return nil, unavailable(ctx.Err())
	}
}

// admit queues all items of a job, or none. A job larger than the queue may be
// is taken when the queue is empty, since it would never be otherwise.
func (w *Writer) admit(j *job) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	if len(w.queue) > 0 && len(w.queue)+j.pending > w.queueRows {
		return ErrQueueFull
	}
	for i := range j.results {
		w.queue = append(w.queue, entry{j, i})
	}
	w.nonEmpty.Signal()
	return nil
}

// Queued returns the number of items that wait for a worker.
func (w *Writer) Queued() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue)
}

// Close commits what is queued, refuses anything new, and waits for the
// workers.
func (w *Writer) Close() {
	w.mu.Lock()
	w.closed = true
	w.nonEmpty.Broadcast()
	w.mu.Unlock()
	w.workers.Wait()
	w.quarantine.close()
}

func (w *Writer) work() {
	var batch []entry
	for {
		batch = w.take(batch[:0])
		if len(batch) == 0 {
			return
		}
		err := w.commit(batch)
		w.finish(batch, err)
		clear(batch) // let go of the bodies while waiting for the next
	}
}

// take moves queued entries to batch, at least one unless the writer is closed.
// What nobody waits for any more is let go: its sender was told that it is not
// committed. So a database that hangs cannot hold up the end of the process.
func (w *Writer) take(batch []entry) []entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = slices.DeleteFunc(w.queue, func(e entry) bool { return e.job.left })
	for len(w.queue) == 0 && !w.closed {
		w.nonEmpty.Wait()
	}
	size := 0
	for _, e := range w.queue {
		size += e.bytes()
		if len(batch) == maxBatchRows || (len(batch) > 0 && size > maxBatchBytes) {
			break
		}
		batch = append(batch, e)
	}
	left := copy(w.queue, w.queue[len(batch):])
	clear(w.queue[left:])
	w.queue = w.queue[:left]
	if left > 0 {
		w.nonEmpty.Signal() // another worker can take the rest meanwhile
	}
	return batch
}

// finish tells the waiters whose last item this batch held.
func (w *Writer) finish(batch []entry, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range batch {
		j := e.job
		if err != nil && j.results[e.item] == Unknown {
			j.err = err
		}
		if j.pending--; j.pending == 0 {
			close(j.done)
		}
	}
}
