package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"flowkeep/internal/store"
)

// migrate moves the schema by hand. serve does "up" by itself.
func migrate(ctx context.Context, p program, args []string) error {
	flags := flag.NewFlagSet("migrate", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(p.stderr, "Usage: flowkeep migrate up|down|status\n\n  up      apply every waiting migration\n  down    take back the newest one, with the data in what it drops\n  status  list them\n")
	}
	if err := parseFlags(p, flags, args, 1); err != nil {
		return err
	}
	work, ok := map[string]func(context.Context, program, string) error{
		"up": migrateUp, "down": migrateDown, "status": migrateStatus,
	}[flags.Arg(0)]
	if !ok {
		return fmt.Errorf("%w: say up, down or status", errUsage)
	}
	cfg, err := readConfig(p.environ)
	if err != nil {
		return err
	}
	return withDatabase(ctx, cfg, func(url string) error { return work(ctx, p, url) })
}

func migrateUp(ctx context.Context, p program, url string) error {
	if err := store.MigrateUp(ctx, url); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, "the schema is up to date")
	err := store.GrantReader(ctx, url)
	if errors.Is(err, store.ErrNoReader) { // nothing needs it
		fmt.Fprintln(p.stdout, err)
		return nil
	}
	return err
}

func migrateDown(ctx context.Context, p program, url string) error {
	done, err := store.MigrateDown(ctx, url)
	if err != nil {
		return err
	}
	if !done {
		fmt.Fprintln(p.stdout, "there is nothing to take back")
		return nil
	}
	fmt.Fprintln(p.stdout, "took back the newest migration")
	return nil
}

func migrateStatus(ctx context.Context, p program, url string) error {
	list, err := store.Migrations(ctx, url)
	if err != nil {
		return err
	}
	for _, m := range list {
		state := "waiting"
		if !m.AppliedAt.IsZero() {
			state = m.AppliedAt.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(p.stdout, "%-20s %s\n", state, m.Name)
	}
	return nil
}
