package main

import (
	"context"
	"fmt"
	"path/filepath"

	"flowkeep/internal/localpg"
)

// openDatabase returns the address of the database: the configured one, or
// that of the private Postgres, started if it is not running. The server is
// nil unless we started it; who has it must stop it.
func openDatabase(ctx context.Context, c config) (url string, server *localpg.Server, err error) {
	if c.DatabaseURL != "" {
		return c.DatabaseURL, nil, nil
	}
	if err := makeDataDir(c.DataDir); err != nil {
		return "", nil, err
	}
	server, err = localpg.Start(ctx, localpg.Options{Dir: privateDir(c)})
	if err != nil {
		return "", nil, fmt.Errorf("start private Postgres (DATABASE_URL is not set): %w", err)
	}
	return server.URL(), server, nil
}

// privateDir is the private Postgres's folder.
func privateDir(c config) string { return filepath.Join(c.DataDir, "postgres") }
