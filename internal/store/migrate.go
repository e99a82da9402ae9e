package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"flowkeep/migrations"
)

// Migration is one step of the schema and when it was applied.
type Migration struct {
	Version   int64
	Name      string
	AppliedAt time.Time // zero while it waits
}

// MigrateUp applies every waiting migration. Any number of servers may call it
// at once: one works, the others wait for it.
func MigrateUp(ctx context.Context, url string) error {
	return withMigrator(url, func(p *goose.Provider) error {
		if pending, err := p.HasPending(ctx); err == nil && !pending {
			return nil
		}
		_, err := p.Up(ctx)
		return explainMigration(err)
	})
}

// MigrateDown takes back the newest migration, with the data in what it drops.
// It returns false if there was none.
func MigrateDown(ctx context.Context, url string) (bool, error) {
	done := false
	err := withMigrator(url, func(p *goose.Provider) error {
		_, err := p.Down(ctx)
		if errors.Is(err, goose.ErrNoNextVersion) {
			return nil
		}
		done = err == nil
		return explainMigration(err)
	})
	return done, err
}

// Migrations lists every migration this binary knows, oldest first.
func Migrations(ctx context.Context, url string) ([]Migration, error) {
	var list []Migration
	err := withMigrator(url, func(p *goose.Provider) error {
		states, err := p.Status(ctx)
		if err != nil {
			return fmt.Errorf("read migrations: %w", err)
		}
		for _, s := range states {
			list = append(list, Migration{Version: s.Source.Version, Name: s.Source.Path, AppliedAt: s.AppliedAt})
		}
		return nil
	})
	return list, err
}

// withMigrator runs do on a session without the writer's timeouts. The lock is
// a table's, since a session's does not hold through a transaction pooler
// (postgres-at-scale.md, section b); for the same reason nothing is prepared.
func withMigrator(url string, do func(*goose.Provider) error) (err error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return UnreadableURL(err)
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	setDefault(cfg.RuntimeParams, "application_name", "flowkeep migrate")
	db := stdlib.OpenDB(*cfg)
	defer func() { err = errors.Join(err, db.Close()) }()

	locker, err := lock.NewPostgresTableLocker(
		lock.WithTableLockTimeout(100*time.Millisecond, 6000),
		lock.WithTableUnlockTimeout(100*time.Millisecond, 100),
	)
	if err != nil {
		return fmt.Errorf("make migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.Files, goose.WithLocker(locker))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	return do(provider)
}

// explainMigration tells a database that is away from one that refuses.
func explainMigration(err error) error {
	if err == nil {
		return nil
	}
	switch class(sqlState(err)) {
	case "", "08", "53", "57", "40", "55":
		return fmt.Errorf("migrate: %w", unavailable(err))
	}
	return fmt.Errorf("migrate: %w", err)
}
