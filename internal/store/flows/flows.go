// Package flows keeps a typed SQL view for each flow, in the schema flows, and
// the table flow_catalog, which says what is in them.
//
// The table flow_responses is all that it goes by. A Keeper looks at the answers
// of a flow in the order of stored_at, each once, notes what it saw of each key
// in the catalog, and brings the view to that. Whether answers came through the
// writer, the spool or another replica, or were there before, makes no
// difference, and neither does starting anew from nothing (Sync).
//
// It works on a session of its own, never in a writer's transaction. Of several
// Keepers on one database, one works at a time. A view is changed only if that
// can be done at once: a user's long query makes the Keeper wait, and no reader.
package flows

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"

	"flowkeep/internal/store"
)

// After some work the Keeper rests for restFactor times as long, so that it
// takes a fortieth of one session and leaves the writer in peace. Under a load
// that is more than it can follow, it catches up later.
const (
	gatherTime   = 300 * time.Millisecond // from a first answer to looking at it
	minRest      = time.Second
	maxRest      = 10 * time.Second
	restFactor   = 39
	scanInterval = time.Minute // to find what nobody told of
	maxTold      = 10_000      // flows; more are found by a scan

	insistFor      = 30 * time.Second // a command, for a view that is in use
	connectTimeout = 3 * time.Second
)

// ErrBusy means that another Keeper works at the moment: try again soon.
var ErrBusy = errors.New("the views are being changed by another flowkeep")

// Keeper keeps the views.
type Keeper struct {
	pool  *pgxpool.Pool
	known []string // ids that were configured
	log   zerolog.Logger
	full  bool // there are flows without a view, and flows.unlinked has them

	mu   sync.Mutex
	told map[string]bool // flows that have new answers
	wake chan struct{}   // holds a token while told is not empty
}

// Open prepares a Keeper for the database at url, any pgx connection string. It
// does not connect. knownFlowIDs get a view before their first answer. Close
// ends it.
func Open(url string, knownFlowIDs []string, log zerolog.Logger) (*Keeper, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, store.UnreadableURL(err)
	}
	cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = 1, 0, 0
	// Nothing is prepared: a pooler might hand the statement to another session.
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "flowkeep views"
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return &Keeper{pool: pool, known: knownFlowIDs, log: log, told: map[string]bool{}, wake: make(chan struct{}, 1)}, nil
}

// Close ends the Keeper's session. Run must have returned.
func (k *Keeper) Close() { k.pool.Close() }

// Saw tells that a flow has new answers, which are committed. It costs next to
// nothing and never waits. An empty id is no flow.
func (k *Keeper) Saw(flowID string) {
	if flowID == "" {
		return
	}
	k.mu.Lock()
	if len(k.told) < maxTold {
		k.told[flowID] = true
	}
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *Keeper) takeTold() map[string]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	told := k.told
	k.told = map[string]bool{}
	return told
}

// Run keeps the views until ctx ends. What fails is logged, and tried again.
func (k *Keeper) Run(ctx context.Context) {
	for _, id := range k.known {
		k.Saw(id)
	}
	scan := time.NewTimer(0)
	defer scan.Stop()
	waiting := map[string]*attempt{}
	for {
		scanning := false
		select {
		case <-ctx.Done():
			return
		case <-scan.C:
			scanning = true
		case <-k.wake:
			pause(ctx, gatherTime)
		case <-time.After(soonest(waiting)):
		}
		start := time.Now()
		if scanning {
			scan.Reset(k.scan(ctx))
		}
		for id := range k.takeTold() {
			if waiting[id] == nil {
				waiting[id] = &attempt{}
			}
		}
		k.tendAll(ctx, waiting)
		pause(ctx, min(max(restFactor*time.Since(start), minRest), maxRest))
	}
}

// attempt is a flow that is to be looked at.
type attempt struct {
	at    time.Time // not before
	tries int       // that failed
}

// soonest returns how long it is until the next attempt.
func soonest(waiting map[string]*attempt) time.Duration {
	wait := scanInterval
	for _, a := range waiting {
		wait = min(wait, max(0, time.Until(a.at)))
	}
	return wait
}

// tendAll looks at each flow that is due, and takes from waiting those that are
// done.
func (k *Keeper) tendAll(ctx context.Context, waiting map[string]*attempt) {
	for id, a := range waiting {
		if ctx.Err() != nil {
			return
		}
		if time.Now().Before(a.at) {
			continue
		}
		now, later, err := k.tend(ctx, id, false)
		if err == nil {
			if !now && !later {
				delete(waiting, id)
			}
			a.tries, a.at = 0, time.Time{}
			continue
		}
		a.tries++
		a.at = time.Now().Add(backoff(a.tries))
		k.note(ctx, id, a.tries, err)
		if sqlState(err) == "" && !errors.Is(err, ErrBusy) {
			for _, other := range waiting { // the database is away, for all of them
				if other.at.Before(a.at) {
					other.at = a.at
				}
			}
			return
		}
	}
}

// backoff is one second, doubled at each failure, up to half a minute, and
// jitter, so that replicas do not march in step.
func backoff(tries int) time.Duration {
	wait := min(minRest<<min(tries-1, 10), maxRest)
	return wait/2 + rand.N(wait) //nolint:gosec // jitter needs no secrecy
}

// note says aloud what hinders for long.
func (k *Keeper) note(ctx context.Context, id string, tries int, err error) {
	const patience = 5
	if ctx.Err() != nil || errors.Is(err, ErrBusy) || tries != patience {
		return
	}
	event := k.log.Warn().Str("flow_id", id).Int("tries", tries)
	switch state := sqlState(err); state {
	case "":
		event = event.Err(err)
	default:
		event = event.Str("sqlstate", state) // its message may hold values
	}
	if isInUse(err) {
		event.Msg("a flow's view waits to be changed until the queries that use it end")
		return
	}
	event.Msg("cannot bring a flow's view up to date: still trying")
}

// scan adds the flows whose answers nobody told of. It returns when to look the
// next time.
func (k *Keeper) scan(ctx context.Context) time.Duration {
	start := time.Now()
	err := k.once(ctx, func(tx pgx.Tx) error {
		if err := forgetGone(ctx, tx); err != nil { // as retention deletes, and commands elsewhere
			return err
		}
		rows, _ := tx.Query(ctx, behindSQL)
		ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
		for _, id := range ids {
			k.Saw(id)
		}
		return err
	})
	if err != nil {
		return backoff(3)
	}
	return max(scanInterval, 2*restFactor*time.Since(start))
}

// tend looks at a flow's new answers and, once there are no more, brings its
// view to them, if that is needed or forced. It returns whether there are more
// answers to be looked at: now, or later.
func (k *Keeper) tend(ctx context.Context, id string, force bool) (now, later bool, err error) {
	var f *flow
	var before []answerKey
	err = k.once(ctx, func(tx pgx.Tx) (err error) {
		if f, err = loadFlow(ctx, tx, id); err != nil {
			return err
		}
		before = slices.Clone(f.state.Keys)
		mark := f.readID
		if now, later, err = f.readNew(ctx, tx); err != nil || (f.known && mark == f.readID) {
			return err
		}
		return f.save(ctx, tx)
	})
	if err != nil || now {
		return now, later, err
	}
	var blocked []string
	if force || f.needsShape() {
		if f, blocked, err = k.reshape(ctx, f); err != nil {
			return false, false, err
		}
	}
	k.noteMisfits(f, before, blocked)
	return false, later, nil
}

// reshape brings the view to what was read of the flow.
func (k *Keeper) reshape(ctx context.Context, read *flow) (f *flow, blocked []string, err error) {
	err = k.once(ctx, func(tx pgx.Tx) (err error) {
		if f, err = loadFlow(ctx, tx, read.id); err != nil {
			return err
		}
		if f.readUntil.Before(read.readUntil) {
			return ErrBusy // somebody began anew
		}
		if f.view == "" {
			if err = f.chooseView(ctx, tx); err != nil {
				return err
			}
		}
		if f.view == "" {
			return k.leaveUnlinked(ctx, tx)
		}
		if blocked, err = f.shape(ctx, tx); err != nil {
			return err
		}
		return f.save(ctx, tx)
	})
	return f, blocked, err
}
