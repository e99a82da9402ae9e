package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"flowkeep/internal/store/read"
)

const exportUsage = `Usage: flowkeep export [flags] > FILE

Writes responses to stdout, in no particular order. --since and --until go by
stored_at: from the first on, and before the second.

`

// export writes what is stored to stdout, row by row.
func export(ctx context.Context, p program, args []string) error {
	flags := flag.NewFlagSet("export", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(p.stderr, exportUsage)
		flags.PrintDefaults()
	}
	var e read.Export
	format := flags.String("format", "ndjson", "ndjson: a JSON object a line; csv: a table for spreadsheets")
	since := flags.String("since", "", "only what was stored since: 2026-01-31T12:00:00Z, 2026-01-31, or 24h ago")
	until := flags.String("until", "", "only what was stored before: likewise")
	flags.StringVar(&e.Flow, "flow", "", "only this flow: its id, or the name of its view")
	flags.BoolVar(&e.RawCells, "raw-cells", false, "csv: leave cells that a spreadsheet would take for a formula")
	if err := parseFlags(p, flags, args, 0); err != nil {
		return err
	}
	var err error
	if e.Since, err = moment(*since, time.Now()); err != nil {
		return fmt.Errorf("%w: --since: %w", errUsage, err)
	}
	if e.Until, err = moment(*until, time.Now()); err != nil {
		return fmt.Errorf("%w: --until: %w", errUsage, err)
	}
	write, ok := map[string]func(*read.Reader, context.Context, io.Writer, *read.Export) error{
		"ndjson": (*read.Reader).NDJSON, "csv": (*read.Reader).CSV,
	}[*format]
	if !ok {
		return fmt.Errorf("%w: --format is ndjson or csv", errUsage)
	}
	cfg, err := readConfig(p.environ)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // so that who stops reading, as "head" does, is seen as EPIPE
	return withDatabase(ctx, cfg, func(url string) error {
		r, err := read.Open(url, 1)
		if err != nil {
			return err
		}
		defer r.Close()
		if isTerminal(p.stderr) {
			defer showProgress(p.stderr, &e)()
		}
		err = write(r, ctx, p.stdout, &e)
		if errors.Is(err, syscall.EPIPE) {
			return nil
		}
		return err
	})
}

// showProgress rewrites a line on a terminal until stop is called.
func showProgress(w io.Writer, e *read.Export) (stop func()) {
	start, tick := time.Now(), time.NewTicker(time.Second/2)
	quit, done := make(chan struct{}), make(chan struct{})
	show := func() {
		fmt.Fprintf(w, "\r%d rows, %.0f rows/s ", e.Rows(), float64(e.Rows())/time.Since(start).Seconds())
	}
	go func() {
		defer close(done)
		for {
			select {
			case <-tick.C:
				show()
			case <-quit:
				show()
				fmt.Fprintln(w)
				return
			}
		}
	}()
	return func() {
		tick.Stop()
		close(quit)
		<-done
	}
}
