package backfill

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"flowkeep/internal/kapso"
	"flowkeep/internal/store"
)

// How far a run by itself reaches. It looks back over what was complete, for
// what Kapso's history shows late. It leaves out what Kapso may still be trying
// to deliver, for 140 s after a buffer of 60 s at most (kapso-facts.md, section
// 1): what it adds was really missed.
const (
	firstReach = 24 * time.Hour
	overlap    = time.Hour
	grace      = 5 * time.Minute
)

const (
	longestLook  = time.Minute      // from a number's being due to somebody's noticing
	retryAfter   = 10 * time.Minute // a failure, if the interval is not shorter
	lease        = 15 * time.Minute // more than one page can take
	releaseLimit = 2 * time.Second
)

// Watch compares every number of the API key's project with Kapso's history,
// again and again. Of several servers on one database, one looks at a number at
// a time.
type Watch struct {
	reader *Reader
	every  time.Duration
	ready  func() bool
	log    zerolog.Logger

	numbers []string  // of the project
	relist  time.Time // when to ask for them again
	fault   string    // why they are not known

	added, unreadable, failures prometheus.Counter

	mu     sync.Mutex
	status Status
}

// Status is how the numbers stand, whichever server looked at them.
type Status struct {
	LastRunAt     time.Time // zero before the first
	Added         int64     // by each number's last run
	CompleteUntil time.Time // of the number that is furthest behind; zero as long as one never came to its end
	Fault         string    // what to do about a failure; empty if all is well
}

// NewWatch prepares a Watch that looks at each number once in every interval,
// while ready says so.
func NewWatch(reader *Reader, every time.Duration, ready func() bool, log zerolog.Logger) *Watch {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &Watch{
		reader: reader, every: every, ready: ready, log: log,
		added:      counter("flowkeep_backfill_added_total", "Flow responses that never arrived and were fetched from Kapso's history."),
		unreadable: counter("flowkeep_backfill_unreadable_total", "Items of Kapso's history that could not be read."),
		failures:   counter("flowkeep_backfill_failures_total", "Comparisons with Kapso's history that failed."),
	}
}

// Collectors returns the metrics, for registration.
func (w *Watch) Collectors() []prometheus.Collector {
	return []prometheus.Collector{
		w.added, w.unreadable, w.failures,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "flowkeep_backfill_behind_seconds",
			Help: "Age of the moment up to which everything is compared with Kapso's history; 0 if that is not known.",
		}, func() float64 {
			if s := w.Status(); !s.CompleteUntil.IsZero() {
				return time.Since(s.CompleteUntil).Seconds()
			}
			return 0
		}),
	}
}

// Status returns how the numbers stood when this server last looked.
func (w *Watch) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// Close lets go of idle connections. Run must have returned.
func (w *Watch) Close() { w.reader.Kapso.Close() }

// Run works until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	look := min(w.every/4, longestLook)
	for pause(ctx, look/2+rand.N(look)) { //nolint:gosec // jitter needs no secrecy
		if !w.ready() {
			continue
		}
		if err := w.round(ctx); err != nil && ctx.Err() == nil {
			w.failures.Inc()
			w.log.Warn().Err(hushed(err)).Msg("cannot compare with Kapso's history")
		}
		w.renew(ctx)
	}
}

// round looks at every number that is due. A number's own failure is noted in
// its row; the error is one that holds for all of them.
func (w *Watch) round(ctx context.Context) error {
	if !time.Now().Before(w.relist) {
		numbers, err := w.reader.Kapso.PhoneNumbers(ctx)
		if err != nil {
			w.fault, w.relist = advice(err), time.Now().Add(min(w.every, retryAfter))
			return err
		}
		w.numbers, w.fault, w.relist = numbers, "", time.Now().Add(w.every)
	}
	for ctx.Err() == nil && w.fault == "" {
		p, due, err := w.reader.DB.ClaimBackfill(ctx, w.numbers, lease)
		if err != nil || !due {
			return err
		}
		if err := w.look(ctx, &p); err != nil {
			return err
		}
	}
	return nil
}

// look compares one number and notes how that ended. The error is one of the
// notes.
func (w *Watch) look(ctx context.Context, p *store.BackfillProgress) error {
	now := time.Now()
	window := kapso.Window{PhoneNumberID: p.PhoneNumberID, Since: now.Add(-firstReach), Until: now.Add(-grace)}
	if p.CompleteUntil != nil {
		window.Since = p.CompleteUntil.Add(-overlap)
	}
	report, err := w.reader.Read(ctx, window, func(Report) {
		// A claim that cannot be renewed makes two work at once: no harm.
		_ = w.reader.DB.HoldBackfill(ctx, p.PhoneNumberID, lease)
	})
	total := report.Total()
	w.tell(p.PhoneNumberID, &report, err)
	if ctx.Err() != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseLimit)
		defer cancel()
		return w.reader.DB.HoldBackfill(ctx, p.PhoneNumberID, 0)
	}
	p.Seen, p.Here, p.Added, p.Unreadable = total.Seen, total.Here, total.Added, total.Unreadable
	next := w.every*9/10 + rand.N(w.every/5) //nolint:gosec // jitter needs no secrecy
	p.CompleteUntil, p.Fault = &window.Until, ""
	if err != nil {
		next, p.CompleteUntil, p.Fault = min(w.every, retryAfter), nil, advice(err)
	}
	return w.reader.DB.NoteBackfill(ctx, p, next)
}

// tell counts a run and logs what should be known of it: counts only.
func (w *Watch) tell(number string, report *Report, err error) {
	total := report.Total()
	w.added.Add(float64(total.Added))
	w.unreadable.Add(float64(total.Unreadable))
	level := zerolog.InfoLevel
	if err != nil && !errors.Is(err, context.Canceled) {
		w.failures.Inc()
		level = zerolog.WarnLevel
	}
	if total.Added > 0 {
		level = zerolog.WarnLevel
	}
	w.log.WithLevel(level).Str("phone_number_id", number).Int64("seen", total.Seen).Int64("already_here", total.Here).
		Int64("added", total.Added).Int64("unreadable", total.Unreadable).
		AnErr("delivery_log", hushed(report.LogFault)).Err(hushed(err)).Msg("compared with Kapso's history")
}

// renew reads how the numbers stand.
func (w *Watch) renew(ctx context.Context) {
	list, err := w.reader.DB.BackfillProgress(ctx, w.numbers)
	if err != nil {
		return // the database's absence is told elsewhere
	}
	s := Status{Fault: w.fault}
	for i, p := range list {
		if last := orZero(p.LastRunAt); last.After(s.LastRunAt) {
			s.LastRunAt = last
		}
		if until := orZero(p.CompleteUntil); i == 0 || until.Before(s.CompleteUntil) {
			s.CompleteUntil = until
		}
		s.Added += p.Added
		s.Fault = cmp.Or(s.Fault, p.Fault)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = s
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// advice says a failure in our own words, and what to do about it.
func advice(err error) string {
	refusal, refused := errors.AsType[*kapso.Error](err)
	switch {
	case errors.Is(err, kapso.ErrNoKey), refused && (refusal.Status == http.StatusUnauthorized || refusal.Status == http.StatusForbidden):
		return "Kapso refuses the API key: check KAPSO_API_KEY"
	case refused && refusal.Status == http.StatusTooManyRequests:
		return "Kapso throttles: it is tried again"
	case refused:
		return "Kapso refuses it: " + kapso.Reason(err)
	case errors.Is(err, kapso.ErrUnreachable), errors.Is(err, kapso.ErrInDoubt):
		return "Kapso gives no answer: is it reachable from here?"
	case errors.Is(err, store.ErrUnavailable):
		return "the database did not take it: it is tried again"
	}
	return "it failed: see the log"
}

// hushed returns an error for the log: of an answer of Kapso's only its code,
// since its text may name people.
func hushed(err error) error {
	if _, refused := errors.AsType[*kapso.Error](err); refused {
		return errors.New("refused by Kapso: " + kapso.Reason(err))
	}
	return err
}
