package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/simulate"
)

// ledger knows everything that was sent and what was promised for it.
type ledger struct {
	mu        sync.Mutex
	responses map[string]*promise            // by message id
	rejects   map[[sha256.Size]byte]*promise // what belongs in quarantine, by the hash of its bytes
	counts    counts
	lastGood  time.Time
	timing    bool
	latencies []time.Duration // of answers while timing
}

// promise is one item that was sent.
type promise struct {
	acknowledged bool // at least one delivery with it got a 200
	answers      []byte
	status       string
	raw          [sha256.Size]byte
}

// counts are of attempts, but for items.
type counts struct {
	acknowledged, refused, cut int64
	items                      simulate.Counts // of the acknowledged
	longestGap                 time.Duration   // between two acknowledgements, under load
	wrong                      []string        // what must not happen at all
}

func newLedger() *ledger {
	return &ledger{responses: map[string]*promise{}, rejects: map[[sha256.Size]byte]*promise{}}
}

// beginLoad and endLoad say when a gap is one.
func (l *ledger) beginLoad() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastGood = time.Now()
}

func (l *ledger) endLoad() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.longestGap = max(l.counts.longestGap, time.Since(l.lastGood))
}

// note is told of every attempt.
func (l *ledger) note(s simulate.Sent, a simulate.Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &l.counts
	if l.timing && a.Err == nil {
		l.latencies = append(l.latencies, a.Latency)
	}
	switch {
	case a.OK():
		now := time.Now()
		c.longestGap, l.lastGood = max(c.longestGap, now.Sub(l.lastGood)), now
		c.acknowledged++
		c.items.Stored += a.Counts.Stored
		c.items.Duplicate += a.Counts.Duplicate
		c.items.Quarantined += a.Counts.Quarantined
		c.items.Spooled += a.Counts.Spooled
		if !s.Explains(a.Counts) {
			c.complain("%s %s is counted as %+v", s.Kind, s.Case, a.Counts)
		}
	case a.Err != nil:
		c.cut++
		if a.Latency >= kapsoLimit {
			c.complain("no answer within %v", kapsoLimit)
		}
	case a.Status == http.StatusServiceUnavailable:
		c.refused++
	default:
		c.complain("status %d", a.Status)
	}
	for i := range s.Items {
		l.expect(&s.Items[i], a.OK())
	}
}

func (c *counts) complain(format string, args ...any) {
	if len(c.wrong) < 10 {
		c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
	}
}

// expect notes what a correct flowkeep may hold, and must if acknowledged.
func (l *ledger) expect(item *simulate.Item, acknowledged bool) {
	sum := sha256.Sum256(item.Raw)
	var p *promise
	switch item.Outcome {
	case simulate.Stored:
		if p = l.responses[item.MessageID]; p == nil {
			p = &promise{answers: item.Answers, status: item.Status, raw: sum}
			l.responses[item.MessageID] = p
		}
	case simulate.Quarantined:
		if p = l.rejects[sum]; p == nil {
			p = &promise{raw: sum}
			l.rejects[sum] = p
		}
	default:
		return
	}
	p.acknowledged = p.acknowledged || acknowledged
}

func (l *ledger) beginTiming() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timing, l.latencies = true, nil
}

// endTiming returns the 99th percentile of the time that answers took.
func (l *ledger) endTiming() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timing = false
	slices.Sort(l.latencies)
	return l.latencies[len(l.latencies)*99/100]
}

// now returns the counts so far.
func (l *ledger) now() counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// restart returns the counts and begins with new ones. What was promised stays.
func (l *ledger) restart() counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts
	l.counts = counts{}
	return c
}

// verdict is what the full check found, in items.
type verdict struct {
	lost    int // acknowledged and not there
	doubled int
	changed int // not as they were sent
	strange int // never sent
}

const ledgerSQL = `
CREATE TEMP TABLE sent_responses (message_id text COLLATE "C" PRIMARY KEY, answers text, status text, raw bytea, acknowledged bool);
CREATE TEMP TABLE sent_rejects (raw bytea PRIMARY KEY, acknowledged bool)`

const verdictSQL = `
SELECT (SELECT count(*) FROM sent_responses s WHERE acknowledged AND NOT EXISTS (SELECT FROM flow_responses r WHERE r.message_id = s.message_id))
     + (SELECT count(*) FROM sent_rejects s WHERE acknowledged AND NOT EXISTS (SELECT FROM quarantine q WHERE sha256(q.body) = s.raw)),
       (SELECT count(*) - least(count(DISTINCT message_id), count(DISTINCT raw)) FROM flow_responses)
     + (SELECT count(*) - count(DISTINCT body) FROM quarantine),
       (SELECT count(*) FROM sent_responses s JOIN flow_responses r USING (message_id)
        WHERE r.response <> s.answers::jsonb OR r.response_status <> s.status OR sha256(r.raw) <> s.raw),
       (SELECT count(*) FROM flow_responses r WHERE NOT EXISTS (SELECT FROM sent_responses s WHERE s.message_id = r.message_id))
     + (SELECT count(*) FROM quarantine q WHERE NOT EXISTS (SELECT FROM sent_rejects s WHERE s.raw = sha256(q.body)))`

// check compares the database with all that was sent.
func (l *ledger) check(b *testing.B, conn *pgx.Conn) (v verdict) {
	b.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var responses, rejects [][]any
	for id, p := range l.responses {
		status := p.status
		if status == "" {
			status = "ok"
		}
		responses = append(responses, []any{id, string(p.answers), status, p.raw[:], p.acknowledged})
	}
	for sum, p := range l.rejects {
		rejects = append(rejects, []any{sum[:], p.acknowledged})
	}
	ctx := context.Background()
	if _, err := conn.Exec(ctx, ledgerSQL); err != nil {
		b.Fatal(err)
	}
	for _, table := range []struct {
		name    string
		columns []string
		rows    [][]any
	}{
		{"sent_responses", []string{"message_id", "answers", "status", "raw", "acknowledged"}, responses},
		{"sent_rejects", []string{"raw", "acknowledged"}, rejects},
	} {
		if _, err := conn.CopyFrom(ctx, pgx.Identifier{table.name}, table.columns, pgx.CopyFromRows(table.rows)); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := conn.Exec(ctx, "ANALYZE sent_responses; ANALYZE sent_rejects"); err != nil {
		b.Fatal(err)
	}
	if err := conn.QueryRow(ctx, verdictSQL).Scan(&v.lost, &v.doubled, &v.changed, &v.strange); err != nil {
		b.Fatal(err)
	}
	return v
}
