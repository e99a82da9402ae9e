package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"

	"flowkeep/internal/backfill"
	"flowkeep/internal/flowparse"
	"flowkeep/internal/kapso"
	"flowkeep/internal/store"
	"flowkeep/internal/store/flows"
)

const backfillUsage = `Usage: flowkeep backfill --since TIME [flags]

Compares the table with Kapso's history and stores what never arrived. It needs
KAPSO_API_KEY. It may be interrupted, and said again at will.

`

// fetch is one call of "flowkeep backfill".
type fetch struct {
	program
	number       string
	since, until string
	json         bool
}

// backfillNow fetches what never arrived.
func backfillNow(ctx context.Context, p program, args []string) error {
	f := fetch{program: p}
	flags := flag.NewFlagSet("backfill", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(p.stderr, backfillUsage)
		flags.PrintDefaults()
	}
	flags.StringVar(&f.number, "phone-number-id", "", "Meta's id of the business number (default: every number of the project)")
	flags.StringVar(&f.since, "since", "", "how far back: 2026-01-31T12:00:00Z, or 24h ago")
	flags.StringVar(&f.until, "until", "", "up to when: likewise (default: now)")
	flags.BoolVar(&f.json, "json", false, "the summary as JSON")
	if err := parseFlags(p, flags, args, 0); err != nil {
		return err
	}
	now := time.Now()
	since, err := moment(f.since, now)
	if err != nil || since.IsZero() {
		return fmt.Errorf("%w: --since: %w", errUsage, cmp.Or(err, fmt.Errorf("say how far back, such as 24h")))
	}
	until, err := moment(f.until, now)
	if err != nil {
		return fmt.Errorf("%w: --until: %w", errUsage, err)
	}
	if until.IsZero() {
		until = now
	}
	if !since.Before(until) {
		return fmt.Errorf("%w: --since is not before --until", errUsage)
	}
	cfg, err := readConfig(p.environ)
	if err != nil {
		return err
	}
	return withDatabase(ctx, cfg, func(url string) error {
		return f.run(ctx, cfg, url, kapso.Window{PhoneNumberID: f.number, Since: since, Until: until})
	})
}

// run reads the window of each number, and prints the summary of what was done
// even if it was cut short.
func (f *fetch) run(ctx context.Context, cfg config, url string, window kapso.Window) error {
	log := zerolog.New(zerolog.ConsoleWriter{Out: f.stderr, TimeFormat: time.TimeOnly}).Level(zerolog.WarnLevel).With().Timestamp().Logger()
	db, err := store.Open(url, poolSessions, log)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Check(ctx); err != nil {
		return err
	}
	writer := store.NewWriter(db, writerWorkers, queueRows, log)
	defer writer.Close()
	writer.LimitQuarantine(store.QuarantineLimit{Records: cfg.QuarantineMaxRecords, Bytes: cfg.QuarantineMaxBytes})
	client, err := newKapso(cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	numbers := []string{window.PhoneNumberID}
	if window.PhoneNumberID == "" {
		if numbers, err = client.PhoneNumbers(ctx); err != nil {
			return err
		}
	}
	views, err := flows.Open(url, cfg.FlowIDs, log)
	if err != nil {
		return err
	}
	defer views.Close()
	reader := &backfill.Reader{Kapso: client, Writer: writer, DB: db, Views: views, Parser: flowparse.New(cfg.FlowIDs), Keep: time.Duration(cfg.Retention)}
	line := progressLine{w: f.stderr, rewrite: isTerminal(f.stderr)}
	var done backfill.Report
	for _, number := range numbers {
		window.PhoneNumberID = number
		report, readErr := reader.Read(ctx, window, func(r backfill.Report) { line.show(number, r.Total()) })
		done.Add(report)
		if err = readErr; err != nil {
			break
		}
	}
	line.end()
	if printErr := f.summary(&done); printErr != nil {
		return printErr
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("interrupted: what is stored stays, and the same command goes on (%w)", ctx.Err())
	}
	return err
}

func (f *fetch) summary(r *backfill.Report) error {
	if r.LogFault != nil {
		fmt.Fprintf(f.stderr, "the delivery log was not read to its end, so answers come from the message history: %v\n", r.LogFault)
	}
	if f.json {
		return json.NewEncoder(f.stdout).Encode(r)
	}
	for _, part := range []struct {
		name string
		backfill.Count
	}{{"delivery log", r.Log}, {"message history", r.History}, {"together", r.Total()}} {
		if _, err := fmt.Fprintf(f.stdout, "%-16s %d seen, %d already here, %d added, %d unreadable\n",
			part.name, part.Seen, part.Here, part.Added, part.Unreadable); err != nil {
			return err
		}
	}
	return nil
}

// progressLine says how far it is: on a terminal one line that is written over,
// else a line every ten seconds.
type progressLine struct {
	w       io.Writer
	rewrite bool
	last    time.Time
	shown   bool
}

func (l *progressLine) show(number string, c backfill.Count) {
	const text = "number %s: %d seen, %d added, %d unreadable"
	switch {
	case l.rewrite:
		fmt.Fprintf(l.w, "\r"+text+"  ", number, c.Seen, c.Added, c.Unreadable)
		l.shown = true
	case time.Since(l.last) > 10*time.Second:
		fmt.Fprintf(l.w, text+"\n", number, c.Seen, c.Added, c.Unreadable)
		l.last = time.Now()
	}
}

func (l *progressLine) end() {
	if l.shown {
		fmt.Fprintln(l.w)
	}
}

// newKapso returns a client with the configured key.
func newKapso(c config) (*kapso.Client, error) {
	client, err := kapso.New(c.KapsoBaseURL, c.KapsoAPIKey)
	if err != nil {
		return nil, fmt.Errorf("KAPSO_BASE_URL, KAPSO_API_KEY: %w", err)
	}
	return client, nil
}

// openBackfill prepares the comparison with Kapso's history, which runs only if
// it is configured. It rests while the database is away and as long as the spool
// holds deliveries, which are not missing.
func (a *App) openBackfill() error {
	client, err := newKapso(a.cfg)
	if err != nil {
		return err
	}
	reader := &backfill.Reader{Kapso: client, Writer: a.writer, DB: a.db, Views: a.views, Parser: a.keeper.parser, Keep: time.Duration(a.cfg.Retention)}
	ready := func() bool { return !a.keeper.away.Load() && a.spool.Stats().Records == 0 }
	a.backfill = backfill.NewWatch(reader, a.cfg.BackfillEvery, ready, a.log)
	return nil
}

// backfillCheck is what /readyz says of the comparison with Kapso's history.
type backfillCheck struct {
	Status        string     `json:"status"`             // ok, waiting for the first run, or what to do about a failure
	LastRunAt     *time.Time `json:"last_run_at"`        // of whichever server
	Added         int64      `json:"added_by_last_runs"` // what was missing, of all numbers
	CompleteUntil *time.Time `json:"complete_until"`     // of the number that is furthest behind
}

// backfillCheck returns nil if nothing is compared.
func (a *App) backfillCheck() *backfillCheck {
	if a.cfg.BackfillEvery == 0 {
		return nil
	}
	s := a.backfill.Status()
	check := &backfillCheck{Status: "ok", Added: s.Added}
	if s.LastRunAt.IsZero() {
		check.Status = "waiting for the first run"
	} else {
		check.LastRunAt = &s.LastRunAt
	}
	if !s.CompleteUntil.IsZero() {
		check.CompleteUntil = &s.CompleteUntil
	}
	check.Status = cmp.Or(s.Fault, check.Status)
	return check
}
