// Package read hands out what is stored: pages of responses, one response, the
// flows, and whole exports as NDJSON or CSV. It can change nothing: every
// transaction is read only.
//
// A response is the same JSON object everywhere. It holds every column of
// flow_responses but raw, the answers untouched, times in RFC 3339 and UTC.
package read

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"flowkeep/internal/store"
)

// ErrNotFound means that there is no such response, or no such flow.
var ErrNotFound = errors.New("not found")

const (
	connectTimeout = 3 * time.Second
	lockTimeout    = 2 * time.Second
	pageTimeout    = 5 * time.Second // of a statement that is not an export
)

// Reader is a small pool of its own, so that those who read never take a session
// from the writer.
type Reader struct {
	pool *pgxpool.Pool
}

// Open prepares a Reader of at most so many sessions for the database at url,
// any pgx connection string. It does not connect.
func Open(url string, sessions int32) (*Reader, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, store.UnreadableURL(err)
	}
	cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = sessions, 0, 0
	// Nothing stays prepared: a pooler might hand the statement to another
	// session. Within a transaction it hands out the same one.
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "flowkeep reader"
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return &Reader{pool: pool}, nil
}

// Close ends every session. It waits for what is under way.
func (r *Reader) Close() { r.pool.Close() }

const beginSQL = `
SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true),
	set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true)`

// begin starts a transaction that sees one state of the database. A statement
// may take as long as limit; 0 is for ever.
func (r *Reader) begin(ctx context.Context, limit time.Duration) (pgx.Tx, error) {
	tx, err := r.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("connect: %w", store.Unavailable(err))
	}
	if _, err := tx.Exec(ctx, beginSQL, milliseconds(limit), milliseconds(lockTimeout)); err != nil {
		_ = tx.Rollback(ctx)
		return nil, fmt.Errorf("begin: %w", store.Unavailable(err))
	}
	return tx, nil
}

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }
