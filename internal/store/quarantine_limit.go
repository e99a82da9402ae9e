package store

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
)

// QuarantineLimit bounds what waits in quarantine, so that whoever may sign
// cannot fill the database. The zero value bounds nothing.
type QuarantineLimit struct {
	Records int64
	Bytes   int64 // of their bodies
}

// What waits is counted anew this often at most, and whenever a twentieth of
// the limit was added: so far may each replica go over it.
const (
	recountAfter  = 10 * time.Second
	recountShare  = 20
	countTimeout  = time.Second
	tellTurnedFor = time.Minute
)

// quarantineGate knows about how much waits in quarantine, and counts what was
// turned away because it is full.
type quarantineGate struct {
	log zerolog.Logger

	mu        sync.Mutex
	limit     QuarantineLimit
	held      QuarantineLimit // as counted, and what this process added since
	added     QuarantineLimit // since it was counted
	countedAt time.Time       // zero: never

	tellMu     sync.Mutex
	turnedAway int64
	untold     int64       // of turnedAway
	teller     *time.Timer // nil: the next is told at once
}

// LimitQuarantine bounds what the Writer puts into quarantine. What it turns
// away has the result TurnedAway. It is to be called before the first Put.
func (w *Writer) LimitQuarantine(l QuarantineLimit) {
	w.quarantine.mu.Lock()
	defer w.quarantine.mu.Unlock()
	w.quarantine.limit = l
}

// TurnedAway returns how many items were let go because quarantine was full.
func (w *Writer) TurnedAway() int64 {
	w.quarantine.tellMu.Lock()
	defer w.quarantine.tellMu.Unlock()
	return w.quarantine.turnedAway
}

// withinLimit returns the items that quarantine has room for, and those that it
// holds already: the same bytes are the same record. It turns the others away.
func (w *Writer) withinLimit(ctx context.Context, bad []suspect) ([]suspect, error) {
	room, bounded := w.quarantine.room(ctx, w.db)
	if !bounded {
		return bad, nil
	}
	var fit, over []suspect
	chosen := map[[sha256.Size]byte]bool{}
	for _, b := range bad {
		hash, size := sha256.Sum256(b.Body), int64(len(b.Body))
		switch {
		case chosen[hash]:
		case room.Records > 0 && room.Bytes >= size:
			chosen[hash] = true
			room.Records--
			room.Bytes -= size
		default:
			over = append(over, b)
			continue
		}
		fit = append(fit, b)
	}
	if len(over) == 0 {
		return fit, nil
	}
	held, err := w.db.heldInQuarantine(ctx, over)
	if err != nil {
		return nil, err
	}
	turned := int64(0)
	for _, b := range over {
		if held[sha256.Sum256(b.Body)] {
			fit = append(fit, b)
			continue
		}
		b.job.results[b.item] = TurnedAway
		turned++
	}
	w.quarantine.turnAway(turned)
	return fit, nil
}

const countQuarantineSQL = `
SELECT count(*), coalesce(sum(length(body)), 0)::bigint FROM quarantine WHERE settled_at IS NULL`

// room returns what may be added, which is negative if the limit is passed, and
// whether there is a limit at all. If the database cannot count now, what is
// known from before stands: the insert will tell whether it is away.
func (g *quarantineGate) room(ctx context.Context, db *DB) (room QuarantineLimit, bounded bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limit == (QuarantineLimit{}) {
		return room, false
	}
	if time.Since(g.countedAt) > recountAfter || g.added.Records > g.limit.Records/recountShare || g.added.Bytes > g.limit.Bytes/recountShare {
		ctx, cancel := context.WithTimeout(ctx, countTimeout)
		defer cancel()
		var counted QuarantineLimit
		err := db.pool.QueryRow(ctx, countQuarantineSQL).Scan(&counted.Records, &counted.Bytes)
		if err == nil {
			g.held = counted
		} else {
			describe(g.log.Warn(), err).Msg("cannot count what is in quarantine")
		}
		g.added, g.countedAt = QuarantineLimit{}, time.Now()
	}
	return QuarantineLimit{Records: g.limit.Records - g.held.Records, Bytes: g.limit.Bytes - g.held.Bytes}, true
}

// grow notes bodies that were added.
func (g *quarantineGate) grow(lengths []int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range lengths {
		g.held.Records++
		g.held.Bytes += n
		g.added.Records++
		g.added.Bytes += n
	}
}

const heldInQuarantineSQL = `
SELECT sha256(body) FROM quarantine WHERE settled_at IS NULL AND sha256(body) = ANY($1::bytea[])`

// heldInQuarantine returns the hashes of those items that wait there.
func (db *DB) heldInQuarantine(ctx context.Context, items []suspect) (map[[sha256.Size]byte]bool, error) {
	hashes := make([][]byte, len(items))
	for i, b := range items {
		sum := sha256.Sum256(b.Body)
		hashes[i] = sum[:]
	}
	held := map[[sha256.Size]byte]bool{}
	err := db.twice(ctx, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, heldInQuarantineSQL, hashes)
		if err != nil {
			return err
		}
		var hash []byte
		_, err = pgx.ForEachRow(rows, []any{&hash}, func() error {
			held[[sha256.Size]byte(hash)] = true
			return nil
		})
		return err
	})
	return held, err
}

// turnAway counts items and tells of them: the first at once, what follows once
// a minute, so that a flood of them is not one of log lines.
func (g *quarantineGate) turnAway(n int64) {
	if n == 0 {
		return
	}
	g.tellMu.Lock()
	defer g.tellMu.Unlock()
	g.turnedAway += n
	g.untold += n
	if g.teller == nil {
		g.tell()
	}
}

// tell says how many were turned away since it was last told. tellMu is held.
func (g *quarantineGate) tell() {
	g.teller = nil
	if g.untold == 0 {
		return
	}
	g.log.Error().Int64("items", g.untold).Int64("in_all", g.turnedAway).
		Msg("quarantine is full: items that nobody could read were answered and not kept")
	g.untold = 0
	g.teller = time.AfterFunc(tellTurnedFor, func() {
		g.tellMu.Lock()
		defer g.tellMu.Unlock()
		g.tell()
	})
}

// close tells what is left to tell.
func (g *quarantineGate) close() {
	g.tellMu.Lock()
	defer g.tellMu.Unlock()
	if g.teller != nil {
		g.teller.Stop()
	}
	g.tell()
	if g.teller != nil {
		g.teller.Stop()
	}
}
