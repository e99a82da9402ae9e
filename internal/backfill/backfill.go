// Package backfill fetches what never arrived. Kapso's delivery log has the very
// bytes that were posted, its message history has every message: both go through
// the same parser and the same writer as deliveries, as source backfill. A
// response that is stored already stays as it is; only what it does not know is
// filled in.
//
// Everything may be interrupted, repeated, and done by several at once: a page
// is committed before the next is asked for, and what comes twice is a duplicate.
package backfill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/kapso"
	"flowkeep/internal/store"
	"flowkeep/internal/store/flows"
)

// How the writer is used: in small steps, so that deliveries are not held up,
// and patiently, for about half a minute, while it has no room or no database.
const (
	stepItems   = 500
	putTimeout  = 10 * time.Second
	firstWait   = time.Second
	longestWait = 16 * time.Second
)

// ErrCircle says that Kapso's pages lead back to one that was read before, so
// that there is no knowing what lies beyond.
var ErrCircle = errors.New("the pages go round in a circle")

// Count says what became of what one source holds.
type Count struct {
	Seen       int64 `json:"seen"`         // Flow responses
	Here       int64 `json:"already_here"` // stored before
	Added      int64 `json:"added"`
	Unreadable int64 `json:"unreadable"` // entries without a body, and items for quarantine
}

// Report is what a run found so far. A response that both sources hold is added
// by the first, and already here for the second.
type Report struct {
	Log     Count `json:"delivery_log"`
	History Count `json:"message_history"`

	// LogFault is why the delivery log was not read to its end; nil if it was.
	// Its answers come from the history then, without the bytes that were posted.
	LogFault error `json:"-"`
}

// Total adds the sources up.
func (r *Report) Total() Count {
	total := r.Log
	total.add(r.History)
	return total
}

// Add adds another number's report.
func (r *Report) Add(other Report) {
	r.Log.add(other.Log)
	r.History.add(other.History)
	r.LogFault = cmp.Or(r.LogFault, other.LogFault)
}

func (c *Count) add(other Count) {
	c.Seen += other.Seen
	c.Here += other.Here
	c.Added += other.Added
	c.Unreadable += other.Unreadable
}

// Reader compares Kapso's history with the table.
type Reader struct {
	Kapso  *kapso.Client
	Writer *store.Writer
	DB     *store.DB
	Views  *flows.Keeper // fills in what stored responses do not know, and learns of it
	Parser *flowparse.Parser
	Keep   time.Duration // what is older is not fetched, since retention would delete it; 0: for ever
}

// Read stores what the window's sources hold and the table lacks: first the
// delivery log, then the message history. told hears of every page that is
// committed. The report is true beside an error, too; without one, everything
// that the history holds is stored.
func (r *Reader) Read(ctx context.Context, w kapso.Window, told func(Report)) (Report, error) {
	if oldest := time.Now().Add(-r.Keep); r.Keep > 0 && w.Since.Before(oldest) {
		w.Since = oldest
	}
	var report Report
	err := r.readPages(ctx, w, r.Kapso.DeliveryLog, &report.Log, func() { told(report) })
	if errors.Is(err, kapso.ErrNoLog) || errors.Is(err, ErrCircle) {
		report.LogFault, err = err, nil
	}
	if err == nil {
		err = r.readPages(ctx, w, r.Kapso.MessageHistory, &report.History, func() { told(report) })
	}
	if err != nil {
		return report, fmt.Errorf("backfill: %w", err)
	}
	return report, nil
}

// readPages follows the cursors of one source to their end. Items that move to
// another page meanwhile are read twice or have been read before. The cursor
// that each is compared with is renewed at every power of two, so that a circle
// of any length is noticed.
func (r *Reader) readPages(ctx context.Context, w kapso.Window, read func(context.Context, kapso.Window, string) (kapso.Page, error), count *Count, told func()) error {
	cursor, mark := "", ""
	for n := 1; ; n++ {
		page, err := read(ctx, w, cursor)
		if err != nil {
			return err
		}
		if err := r.keep(ctx, w, page, count); err != nil {
			return err
		}
		told()
		switch page.Next {
		case "":
			return nil
		case cursor, mark:
			return ErrCircle
		}
		if n&(n-1) == 0 {
			mark = page.Next
		}
		cursor = page.Next
	}
}

// keep stores a page's responses and fills in what was stored before.
func (r *Reader) keep(ctx context.Context, w kapso.Window, page kapso.Page, count *Count) error {
	responses, timeless := r.parse(w, page, count)
	now := time.Now()
	for step := range slices.Chunk(responses, stepItems) {
		d := flowparse.Delivery{Source: flowparse.SourceBackfill, ReceivedAt: now, Responses: step}
		if err := r.keepDelivery(ctx, &d, count); err != nil {
			return err
		}
	}
	for i := range timeless {
		if err := r.keepDelivery(ctx, &timeless[i], count); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) keepDelivery(ctx context.Context, d *flowparse.Delivery, count *Count) error {
	results, err := r.put(ctx, d)
	if err != nil {
		return err
	}
	var here []flowparse.Response
	for i, result := range results {
		switch result {
		case store.Stored:
			count.Added++
		case store.Duplicate:
			count.Here++
			here = append(here, d.Responses[i])
		case store.Quarantined, store.TurnedAway:
			count.Unreadable++
		}
	}
	count.Seen += int64(len(d.Responses))
	return r.Views.FillNulls(ctx, here)
}

// parse reads what a page holds of the window's number. Items that do not say
// how old they are come as deliveries of their own, which take their age from
// the log, or else are as old as the window: what was erased meanwhile must not
// pass for new.
func (r *Reader) parse(w kapso.Window, page kapso.Page, count *Count) (responses []flowparse.Response, timeless []flowparse.Delivery) {
	for _, found := range page.Found {
		if len(found.Body) == 0 {
			count.Unreadable++
			continue
		}
		d := r.Parser.Parse(flowparse.Input{Body: found.Body, Event: found.Event})
		own := flowparse.Delivery{Source: flowparse.SourceBackfill, ReceivedAt: found.At, Rejects: d.Rejects}
		if own.ReceivedAt.IsZero() {
			own.ReceivedAt = w.Since
		}
		for i := range d.Responses {
			switch answer := d.Responses[i]; {
			case answer.PhoneNumberID != "" && answer.PhoneNumberID != w.PhoneNumberID:
			case answer.SentAt.IsZero():
				own.Responses = append(own.Responses, answer)
			default:
				responses = append(responses, answer)
			}
		}
		if len(own.Responses)+len(own.Rejects) > 0 {
			timeless = append(timeless, own)
		}
	}
	return responses, timeless
}

// put waits for a writer that is full, and for a database that is away.
func (r *Reader) put(ctx context.Context, d *flowparse.Delivery) ([]store.Result, error) {
	for wait := firstWait; ; wait *= 2 {
		limited, cancel := context.WithTimeout(ctx, putTimeout)
		results, err := r.Writer.Put(limited, d)
		cancel()
		if err == nil || !errors.Is(err, store.ErrUnavailable) || wait > longestWait || !pause(ctx, wait) {
			return results, err
		}
	}
}

// pause returns false if the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
