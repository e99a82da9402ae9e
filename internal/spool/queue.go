package spool

import (
	"context"
	"fmt"
)

// maxBatchRecords and maxBatchBytes bound one commit, maxQueueBytes what waits
// for the next.
const (
	maxBatchRecords = 1000
	maxBatchBytes   = 16 << 20
	maxQueueBytes   = 64 << 20
)

// job is what one Append hands to the committer.
type job struct {
	encoded [][]byte
	bytes   int64
	err     error         // written before done is closed
	done    chan struct{} // closed when the job is on disk or failed
}

// Append puts all records on disk, or none. Without an error they are synced.
// What comes together is committed together; there is no timer.
//
// It fails with ErrFull, ErrQueueFull, ErrNoSpace, ErrDisk or ErrClosed, and
// then nothing is kept, but for what a failing disk leaves in doubt. When ctx
// ends first it returns ctx's error, and the records are in doubt. Records must
// not change while Append runs.
func (s *Spool) Append(ctx context.Context, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{encoded: make([][]byte, len(records)), done: make(chan struct{})}
	for i := range records {
		b, err := encode(&records[i])
		if err != nil {
			return err
		}
		j.encoded[i] = b
		j.bytes += int64(len(b))
	}
	if err := s.admit(j); err != nil {
		return err
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// admit queues a job. One that is larger than the queue is taken when the queue
// is empty, since it would never be otherwise.
func (s *Spool) admit(j *job) error {
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if len(s.queue) > 0 && s.queued+j.bytes > s.queueMax {
		return ErrQueueFull
	}
	s.queue = append(s.queue, j)
	s.queued += j.bytes
	s.nonEmpty.Signal()
	return nil
}

// work commits what is queued until the spool is closed.
func (s *Spool) work() {
	for {
		batch := s.take()
		if len(batch) == 0 {
			return
		}
		s.commit(batch)
		for _, j := range batch {
			close(j.done)
		}
	}
}

// take waits for jobs and takes at least one, unless the spool is closed.
func (s *Spool) take() []*job {
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	for len(s.queue) == 0 && !s.closed {
		s.nonEmpty.Wait()
	}
	taken, records, size := 0, 0, int64(0)
	for _, j := range s.queue {
		records += len(j.encoded)
		size += j.bytes
		if taken > 0 && (records > maxBatchRecords || size > maxBatchBytes) {
			break
		}
		taken++
		s.queued -= j.bytes
	}
	batch := append([]*job(nil), s.queue[:taken]...)
	left := copy(s.queue, s.queue[taken:])
	clear(s.queue[left:])
	s.queue = s.queue[:left]
	return batch
}

// commit puts the jobs that there is room for on disk in one transaction.
func (s *Spool) commit(batch []*job) {
	_ = s.onDisk(func(d *disk) error { // every job has the error
		var encoded [][]byte
		room := d.maxBytes - d.bytes
		for _, j := range batch {
			if j.bytes > room {
				j.err = fmt.Errorf("%w: it holds %d bytes of %d", ErrFull, d.bytes, d.maxBytes)
				continue
			}
			room -= j.bytes
			encoded = append(encoded, j.encoded...)
		}
		if len(encoded) == 0 {
			return nil
		}
		err := d.put(encoded)
		for _, j := range batch {
			if j.err == nil {
				j.err = err
			}
		}
		return err
	})
}
