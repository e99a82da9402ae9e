package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/rs/zerolog"

	"flowkeep/internal/store/flows"
	"flowkeep/internal/store/sends"
)

const flowsUsage = `Usage: flowkeep flows
       flowkeep flows name FLOW NAME
       flowkeep flows retype FLOW KEY TYPE
       flowkeep flows retain FLOW DURATION|default|forever
       flowkeep flows sync

  (alone)  list each flow with its answers, and its keys with type and how often they are filled
  name     call the flow's view flows.NAME
  retype   give a key's column a type: boolean, numeric, date, timestamptz, text, text[] or jsonb
  retain   delete the flow's answers so long after they were stored: 90d, 8760h; or as FLOWKEEP_RETENTION says; or never
  sync     make every view anew from the table

FLOW is a flow's id, or the name of its view.
`

// flowViews lists the flows, or changes their views.
func flowViews(ctx context.Context, p program, args []string) error {
	flags := flag.NewFlagSet("flows", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(p.stderr, flowsUsage) }
	if err := parseFlags(p, flags, args, 4); err != nil {
		return err
	}
	var work func(context.Context, *flows.Keeper) error // nil: list
	word := flags.Arg
	switch {
	case flags.NArg() == 0:
	case word(0) == "name" && flags.NArg() == 3:
		work = func(ctx context.Context, k *flows.Keeper) error { return k.Name(ctx, word(1), word(2)) }
	case word(0) == "retype" && flags.NArg() == 4:
		work = func(ctx context.Context, k *flows.Keeper) error { return k.Retype(ctx, word(1), word(2), word(3)) }
	case word(0) == "retain" && flags.NArg() == 3:
		keep, err := retention(word(2))
		if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		work = func(ctx context.Context, k *flows.Keeper) error { return k.Retain(ctx, word(1), keep) }
	case word(0) == "sync" && flags.NArg() == 1:
		work = func(ctx context.Context, k *flows.Keeper) error {
			n, err := k.Sync(ctx)
			if err == nil {
				fmt.Fprintf(p.stdout, "looked at every answer of %d flows\n", n)
			}
			return err
		}
	default:
		return fmt.Errorf("%w:\n%s", errUsage, flowsUsage)
	}
	cfg, err := readConfig(p.environ)
	if err != nil {
		return err
	}
	log := zerolog.New(zerolog.ConsoleWriter{Out: p.stderr, TimeFormat: time.TimeOnly}).Level(zerolog.WarnLevel).With().Timestamp().Logger()
	return withDatabase(ctx, cfg, func(url string) error {
		k, err := flows.Open(url, cfg.FlowIDs, log)
		if err != nil {
			return err
		}
		defer k.Close()
		if work == nil {
			return listFlows(ctx, p.stdout, k, url)
		}
		return work(ctx, k)
	})
}

// retention reads how long a flow's answers are kept: nil is the default, 0 for
// ever.
func retention(text string) (*time.Duration, error) {
	var keep span
	switch text {
	case "default":
		return nil, nil
	case "forever":
	default:
		if err := keep.UnmarshalText([]byte(text)); err != nil || keep < leastRetention {
			return nil, fmt.Errorf("%q is neither a duration of at least 1h, such as 90d, nor default, nor forever", text)
		}
	}
	return (*time.Duration)(&keep), nil
}

func listFlows(ctx context.Context, w io.Writer, k *flows.Keeper, url string) error {
	list, unlinked, err := k.List(ctx)
	if err != nil {
		return err
	}
	r, err := sends.Open(url)
	if err != nil {
		return err
	}
	defer r.Close()
	funnels, err := r.Funnels(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		f := &list[i]
		at := slices.IndexFunc(funnels, func(sent sends.Funnel) bool { return sent.FlowID == f.ID })
		if at < 0 {
			printFlow(w, f, nil)
			continue
		}
		printFlow(w, f, &funnels[at])
		funnels = slices.Delete(funnels, at, at+1)
	}
	for i := range funnels { // nobody has answered yet
		fmt.Fprintf(w, "%s  %s\n", printable(funnels[i].FlowID), countAnswers(0))
		printFunnel(w, &funnels[i])
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%s with no known flow, in flows.unlinked\n", countAnswers(unlinked))
	return nil
}

// printFunnel prints how far the sends of a flow got, if it has any.
func printFunnel(w io.Writer, f *sends.Funnel) {
	if f == nil {
		return
	}
	fmt.Fprintf(w, "  %d sent, %d delivered, %d read, %d answered", f.Sent, f.Delivered, f.Read, f.Answered)
	if f.Median != nil {
		fmt.Fprintf(w, ", half of them within %v", *f.Median)
	}
	fmt.Fprintln(w)
}

func printFlow(w io.Writer, f *flows.Flow, sent *sends.Funnel) {
	fmt.Fprintf(w, "%s  %s", printable(f.ID), countAnswers(f.Answers))
	if f.Answers > 0 {
		fmt.Fprintf(w, ", %s to %s", f.First.UTC().Format(time.RFC3339), f.Last.UTC().Format(time.RFC3339))
	}
	if f.Keep != nil && *f.Keep == 0 {
		fmt.Fprint(w, ", kept for ever")
	} else if f.Keep != nil {
		fmt.Fprintf(w, ", kept for %s", span(*f.Keep))
	}
	fmt.Fprintln(w)
	printFunnel(w, sent)
	if f.View == "" {
		fmt.Fprint(w, "  no view: there are too many; its answers are in flows.unlinked. \"flowkeep flows name\" makes one\n\n")
		return
	}
	fmt.Fprintf(w, "  in flows.%s\n", printable(f.View))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range f.Columns {
		fmt.Fprintf(table, "  %s\t%s\tfilled %.0f %%", printable(c.Name), c.Type, 100*c.Filled)
		if c.Name != c.Key {
			fmt.Fprintf(table, "\tkey %q", c.Key)
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush() // w's own fault would show in the next line too
	for _, c := range f.Columns {
		if c.Misfits > 0 {
			fmt.Fprintf(w, "  %s in %s no %s, and read as null. To mend it:\n    %s\n", countAnswers(c.Misfits),
				printable(c.Name), c.Type, flows.Mend(f.ID, c.Key, c.Better))
		}
	}
	if f.More {
		fmt.Fprint(w, "  further keys have no column, and are only in flow_responses.response\n")
	}
	if f.Lists > 0 {
		fmt.Fprintf(w, "  %s without keys (a list), only in flow_responses.response\n", countAnswers(f.Lists))
	}
	fmt.Fprintln(w)
}

func countAnswers(n int64) string {
	if n == 1 {
		return "1 answer"
	}
	return fmt.Sprintf("%d answers", n)
}

// printable returns a text that others chose as it is, or quoted if it would
// disturb a terminal.
func printable(s string) string {
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}
