package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"flowkeep/internal/localpg"
)

// startDatabase returns the address of the database: the configured one, or
// that of the private Postgres, which it starts. The server is nil unless it
// was started; who has it must stop it.
func startDatabase(ctx context.Context, c config) (url string, server *localpg.Server, err error) {
	if c.DatabaseURL != "" {
		return c.DatabaseURL, nil, nil
	}
	if err := makeDataDir(c.DataDir); err != nil {
		return "", nil, err
	}
	server, err = localpg.Start(ctx, localpg.Options{Dir: privateDir(c)})
	if errors.Is(err, localpg.ErrNoBinaries) { // as in a container
		return "", nil, fmt.Errorf("set DATABASE_URL to your Postgres, such as postgres://user:password@host:5432/flowkeep (it is not set, and %w)", err)
	}
	if err != nil {
		return "", nil, fmt.Errorf("DATABASE_URL is not set: %w", err)
	}
	return server.URL(), server, nil
}

// withDatabase runs do for a command. The private Postgres of a flowkeep that
// serves is joined; if there is none, it runs for as long as the command.
func withDatabase(ctx context.Context, c config, do func(url string) error) (err error) {
	url, server, err := startDatabase(ctx, c)
	if errors.Is(err, localpg.ErrInUse) {
		if running, joinErr := localpg.Join(ctx, privateDir(c)); joinErr == nil {
			return do(running)
		}
	}
	if err != nil {
		return err
	}
	if server != nil {
		defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
	}
	return do(url)
}

// privateDir is the private Postgres's folder.
func privateDir(c config) string { return filepath.Join(c.DataDir, "postgres") }
