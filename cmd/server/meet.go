package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"flowkeep/internal/localpg"
	"flowkeep/internal/store"
)

// meetDatabase brings the database's schema up to date before the first
// delivery. A database that this data folder has met before may be away: the
// server then starts with the spool alone, and meets it before the first drain.
// One that it never met must be there, since a mistake in DATABASE_URL would
// otherwise accept deliveries for ever that nobody can select.
func (a *App) meetDatabase(ctx context.Context) error {
	identity, err := store.Identity(a.url)
	if err != nil {
		return err
	}
	file := filepath.Join(a.cfg.DataDir, "database")
	prepare := func(ctx context.Context) error { return a.prepareDatabase(ctx, file, identity) }
	err = prepare(ctx)
	if err == nil {
		return nil
	}
	met, readErr := os.ReadFile(file)
	if !errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil || readErr != nil || string(met) != identity {
		return fmt.Errorf("the first start with a database needs it: %w", err)
	}
	a.log.Error().Err(err).Msg("the database is away: starting with the spool alone")
	a.keeper.prepare = prepare
	a.keeper.away.Store(true)
	return nil
}

// prepareDatabase checks and migrates, says what weakens the promise, and notes
// in file that this database was met.
func (a *App) prepareDatabase(ctx context.Context, file, identity string) error {
	if err := a.db.Check(ctx); err != nil {
		return err
	}
	if err := store.MigrateUp(ctx, a.url); err != nil {
		return err
	}
	if err := store.GrantReader(ctx, a.url); err != nil { // "flowkeep migrate up" says so aloud
		a.log.Debug().Err(err).Msg("readers have no role")
	}
	doubts, err := a.db.Doubts(ctx)
	if err != nil {
		return err
	}
	for _, d := range doubts {
		a.log.Warn().Msg("the database weakens the promise: " + d)
	}
	if err := os.WriteFile(file, []byte(identity), 0o600); err != nil {
		return fmt.Errorf("note the database in the data folder: %w", err)
	}
	return nil
}

// tendPostgres starts the private Postgres again whenever it ends by itself.
// Deliveries go to the spool meanwhile.
func (a *App) tendPostgres(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.postgres.Done():
		}
		if ctx.Err() != nil {
			return
		}
		a.log.Error().Err(a.postgres.Err()).Msg("the private Postgres ended by itself: starting it again")
		server, err := localpg.Start(ctx, localpg.Options{Dir: privateDir(a.cfg)})
		if err != nil {
			a.log.Error().Err(err).Msg("cannot start the private Postgres")
			pause(ctx, time.Second)
			continue
		}
		a.postgres = server
	}
}
