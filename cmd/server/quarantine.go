package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store"
)

// How many records a step of a command handles together. Bodies are read in
// replay only, where 16 of them bound the memory; none is refused for the items
// that it turns out to hold.
const (
	listStep   = 500
	replayStep = 16
	replayRows = 1 << 20
)

const quarantineUsage = `Usage: flowkeep quarantine list|show|replay|discard [ID …] [flags]

  list     what waits, newest first
  show     one record and its body
  replay   read records again as this version reads them, and store what it can
  discard  settle records without storing anything

replay and discard want ids, or a choice by --reason, --since, --until, or --all.

`

// quarantine looks after what could not be read or stored.
func quarantine(ctx context.Context, p program, args []string) error {
	work, ok := map[string]func(*warden, context.Context) error{
		"list": (*warden).list, "show": (*warden).show, "replay": (*warden).replay, "discard": (*warden).discard,
	}[first(args)]
	w := &warden{program: p}
	flags := w.flags()
	if !ok {
		args = append([]string{""}, args...) // so that -h is found
	}
	if err := w.parse(flags, args[1:]); err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: say list, show, replay or discard", errUsage)
	}
	cfg, err := readConfig(p.environ)
	if err != nil {
		return err
	}
	w.parser = flowparse.New(cfg.FlowIDs)
	return withDatabase(ctx, cfg, func(url string) (err error) {
		if w.db, err = store.Open(url, 4, zerolog.Nop()); err != nil {
			return err
		}
		defer w.db.Close()
		if err := w.db.Check(ctx); err != nil {
			return err
		}
		return work(w, ctx)
	})
}

func first(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// warden carries out one command on quarantine.
type warden struct {
	program
	db     *store.DB
	parser *flowparse.Parser

	ids          []int64
	filter       store.QuarantineFilter
	since, until string
	all          bool
	json         bool
	bodyOnly     bool
	limit        int
}

func (w *warden) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("quarantine", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(w.stderr, quarantineUsage)
		flags.PrintDefaults()
	}
	flags.StringVar(&w.filter.Reason, "reason", "", "only records with this reason")
	flags.StringVar(&w.since, "since", "", "only what was received since: 2026-01-31T12:00:00Z, 2026-01-31, or 24h ago")
	flags.StringVar(&w.until, "until", "", "only what was received before: likewise")
	flags.BoolVar(&w.filter.Settled, "settled", false, "list: those that are settled, instead of those that wait")
	flags.IntVar(&w.limit, "limit", 100, "list: so many at most; 0 = all")
	flags.BoolVar(&w.all, "all", false, "replay, discard: everything that waits")
	flags.BoolVar(&w.json, "json", false, "one JSON object a line")
	flags.BoolVar(&w.bodyOnly, "body", false, "show: the exact bytes of the body, nothing else")
	return flags
}

// parse reads flags and ids in any order.
func (w *warden) parse(flags *flag.FlagSet, args []string) error {
	for {
		if err := parseFlags(w.program, flags, args, len(args)); err != nil {
			return err
		}
		if flags.NArg() == 0 {
			break
		}
		id, err := strconv.ParseInt(flags.Arg(0), 10, 64)
		if err != nil || id < 1 {
			return fmt.Errorf("%w: %q is not the id of a record", errUsage, flags.Arg(0))
		}
		w.ids = append(w.ids, id)
		args = flags.Args()[1:]
	}
	var err error
	if w.filter.Since, err = moment(w.since, time.Now()); err != nil {
		return fmt.Errorf("%w: --since: %w", errUsage, err)
	}
	if w.filter.Until, err = moment(w.until, time.Now()); err != nil {
		return fmt.Errorf("%w: --until: %w", errUsage, err)
	}
	if w.limit < 0 {
		return fmt.Errorf("%w: --limit: say 0 for all", errUsage)
	}
	return nil
}

// replay puts records through the parser and the writer of today.
func (w *warden) replay(ctx context.Context) error {
	writer := store.NewWriter(w.db, 1, replayRows, zerolog.Nop())
	defer writer.Close()
	became := map[string]int{}
	err := w.eachChosen(ctx, replayStep, func(ids []int64) error {
		results, errs := make([]store.Replayed, len(ids)), make([]error, len(ids))
		var wait sync.WaitGroup
		for i, id := range ids {
			wait.Go(func() { results[i], errs[i] = writer.Replay(ctx, w.parser, id) })
		}
		wait.Wait()
		for i, id := range ids {
			if errs[i] == nil {
				became[orStays(results[i].SettledAs)]++
				errs[i] = w.tell(id, results[i])
			}
		}
		return errors.Join(errs...)
	})
	if !w.json {
		fmt.Fprintf(w.stdout, "%d stored, %d duplicate, %d ignored, %d stay\n", became[store.SettledStored],
			became[store.SettledDuplicate], became[store.SettledIgnored], became[stays])
		if n := became[store.DroppedErased]; n > 0 {
			fmt.Fprintf(w.stdout, "%d deleted, since they held what is erased\n", n)
		}
	}
	return err
}

// discard settles records as they are.
func (w *warden) discard(ctx context.Context) error {
	discarded := 0
	err := w.eachChosen(ctx, listStep, func(ids []int64) error {
		settled, err := w.db.SettleQuarantine(ctx, ids, store.SettledDiscarded)
		if err != nil {
			return err
		}
		discarded += len(settled)
		for _, id := range settled {
			if err := w.tell(id, store.Replayed{SettledAs: store.SettledDiscarded}); err != nil {
				return err
			}
		}
		if len(w.ids) > 0 && len(settled) < len(ids) {
			return fmt.Errorf("%w, or settled before: %d of the %d given", store.ErrNoRecord, len(ids)-len(settled), len(ids))
		}
		return nil
	})
	if !w.json {
		fmt.Fprintf(w.stdout, "%d discarded\n", discarded)
	}
	return err
}

// eachChosen hands the chosen records to do, step by step in the order of
// arrival. It takes nothing for "all" that was not said.
func (w *warden) eachChosen(ctx context.Context, step int, do func(ids []int64) error) error {
	narrowed := w.filter != store.QuarantineFilter{}
	switch {
	case w.filter.Settled:
		return fmt.Errorf("%w: what is settled stays settled", errUsage)
	case len(w.ids) > 0 && (narrowed || w.all), w.all && narrowed:
		return fmt.Errorf("%w: give ids, or --all, or narrow by --reason, --since and --until: one of them", errUsage)
	case len(w.ids) > 0:
		return do(w.ids)
	case !narrowed && !w.all:
		return fmt.Errorf("%w: say which: ids, --reason, --since, --until, or --all", errUsage)
	}
	for after := int64(0); ; {
		ids, err := w.db.QuarantineIDs(ctx, w.filter, after, step)
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := do(ids); err != nil {
			return err
		}
		after = ids[len(ids)-1]
	}
}
