package webhook

import (
	"container/list"
	"errors"
	"sync"
)

// errCrowded means that the memory for bodies in flight is used up.
var errCrowded = errors.New("too many bytes in flight")

// intake bounds the memory of bodies in flight. What is not verified yet has a
// share of its own, so that forgers can take nothing from signed deliveries
// that are being stored. Inside that share the oldest reader gives way: a
// sender in earnest is done in milliseconds and is never the oldest for long,
// one that holds a body open to fill the share is.
type intake struct {
	maxUnverified, maxVerified int64

	mu         sync.Mutex
	unverified int64
	verified   int64
	readers    list.List // of *portion, not verified yet, oldest first
}

// portion is what one delivery holds of an intake, until it leaves.
type portion struct {
	intake *intake
	cut    func()        // makes a Read under way fail; must not block
	place  *list.Element // in readers; nil once verified, cut off or gone
	held   int64
	stored bool // held counts as verified
}

// enter admits a reader that holds nothing yet.
func (in *intake) enter(cut func()) *portion {
	in.mu.Lock()
	defer in.mu.Unlock()
	p := &portion{intake: in, cut: cut}
	p.place = in.readers.PushBack(p)
	return p
}

// grow counts n more bytes for a reader. It fails if the reader itself had to
// give way.
func (p *portion) grow(n int64) error {
	in := p.intake
	in.mu.Lock()
	defer in.mu.Unlock()
	if p.place == nil {
		return errCrowded
	}
	p.held += n
	in.unverified += n
	for in.unverified > in.maxUnverified && p.place != nil {
		oldest := in.readers.Front().Value.(*portion) //nolint:forcetypeassert // the list holds nothing else
		oldest.drop()
		oldest.cut()
	}
	if p.place == nil {
		return errCrowded
	}
	return nil
}

// drop takes a reader out of the unverified share. The lock is held.
func (p *portion) drop() {
	p.intake.readers.Remove(p.place)
	p.intake.unverified -= p.held
	p.place, p.held = nil, 0
}

// verify moves the reader's bytes to the share of verified deliveries.
func (p *portion) verify() error {
	in := p.intake
	in.mu.Lock()
	defer in.mu.Unlock()
	if p.place == nil || in.verified+p.held > in.maxVerified {
		return errCrowded
	}
	held := p.held
	p.drop()
	p.held, p.stored = held, true
	in.verified += held
	return nil
}

// leave gives back what is held.
func (p *portion) leave() {
	p.intake.mu.Lock()
	defer p.intake.mu.Unlock()
	switch {
	case p.stored:
		p.intake.verified -= p.held
	case p.place != nil:
		p.drop()
	}
	p.held, p.stored = 0, false
}

// bytes returns what all deliveries hold at the moment.
func (in *intake) bytes() int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.unverified + in.verified
}
