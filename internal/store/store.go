// Package store is the only room that speaks SQL. It keeps Flow responses and
// quarantined items in Postgres, and answers for one promise: what it reports
// as stored, duplicate or quarantined is committed, as durable as the database
// makes a commit.
package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"
)

// The server ends a statement before the writer's own deadline passes, so that
// no cancelled wait leaves a backend behind.
const (
	lockTimeout      = 2 * time.Second
	statementTimeout = 3 * time.Second
	batchTimeout     = 4 * time.Second
	connectTimeout   = 3 * time.Second
)

// ErrUnavailable means that Postgres could not take the rows now. Nothing is
// wrong with them: they may be sent again.
var ErrUnavailable = errors.New("database unavailable")

// ErrUnfit means that the database must not be used as it is set up. The
// message says what to change.
var ErrUnfit = errors.New("database is not fit")

// DB is a pool of sessions whose settings keep the promise.
type DB struct {
	pool *pgxpool.Pool
	log  zerolog.Logger

	// bare is set once a pooler has refused our session settings; the role
	// must carry them then, which every new session is checked for.
	bare atomic.Bool
}

// Open prepares a pool for url, any pgx connection string. It does not
// connect: Check does. maxConns is used where the string does not say
// pool_max_conns. An error means that the string cannot be read; it does not
// contain the password.
func Open(url string, maxConns int32, log zerolog.Logger) (*DB, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, UnreadableURL(err)
	}
	if !strings.Contains(url, "pool_max_conns") {
		cfg.MaxConns = maxConns
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	setDefault(cfg.ConnConfig.RuntimeParams, "application_name", "flowkeep")
	db := &DB{log: log}
	cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		if !db.bare.Load() {
			addSessionSettings(c.RuntimeParams)
		}
		return nil
	}
	cfg.AfterConnect = checkSession
	cfg.ConnConfig.OnNotice = noteWarning
	db.pool, err = pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return db, nil
}

// Close ends every session. It waits for statements under way.
func (db *DB) Close() { db.pool.Close() }

// Check connects and reports whether the database can be used: nil,
// ErrUnavailable, or ErrUnfit.
func (db *DB) Check(ctx context.Context) error {
	err := db.pool.Ping(ctx)
	if err != nil && !db.bare.Load() && refusesSettings(err) {
		db.log.Warn().Msg("a pooler before the database refuses session settings: the role must carry synchronous_commit, lock_timeout and statement_timeout")
		db.bare.Store(true)
		err = db.pool.Ping(ctx)
	}
	if err == nil || errors.Is(err, ErrUnfit) {
		return err
	}
	return fmt.Errorf("connect: %w", unavailable(err))
}

func addSessionSettings(params map[string]string) {
	params["synchronous_commit"] = "on"
	params["lock_timeout"] = milliseconds(lockTimeout)
	params["statement_timeout"] = milliseconds(statementTimeout)
	params["client_min_messages"] = "warning" // noteWarning must hear of a commit that was not confirmed
}

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

func setDefault(params map[string]string, name, value string) {
	if params[name] == "" {
		params[name] = value
	}
}

// refusesSettings recognises pgbouncer's answer to a startup parameter that it
// does not track (postgres-at-scale.md, section b).
func refusesSettings(err error) bool {
	return sqlState(err) == "08P01" && strings.Contains(err.Error(), "unsupported startup parameter")
}

const sessionSettingsSQL = `
SELECT current_setting('server_encoding'),
       current_setting('synchronous_commit'),
       current_setting('lock_timeout') <> '0',
       current_setting('statement_timeout') <> '0',
       current_setting('client_min_messages') <> 'error'`

// checkSession refuses a session whose settings would void the promise. A
// pooler may have dropped what we asked for without a word.
func checkSession(ctx context.Context, conn *pgx.Conn) error {
	var encoding, commit string
	var locks, statements, warnings bool
	// Nothing is prepared: a pooler might hand the statement to another session.
	err := conn.QueryRow(ctx, sessionSettingsSQL, pgx.QueryExecModeExec).
		Scan(&encoding, &commit, &locks, &statements, &warnings)
	switch {
	case err != nil:
		return fmt.Errorf("read session settings: %w", err)
	case encoding != "UTF8":
		return fmt.Errorf("%w: its encoding is %s, flowkeep needs UTF8 (CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0)", ErrUnfit, encoding)
	case commit != "on" && commit != "remote_apply":
		return fmt.Errorf("%w: synchronous_commit is %s for this role, flowkeep needs on (ALTER ROLE … SET synchronous_commit = on)", ErrUnfit, commit)
	case !locks || !statements:
		return fmt.Errorf("%w: the pooler drops lock_timeout or statement_timeout (ALTER ROLE … SET lock_timeout = '2s'; ALTER ROLE … SET statement_timeout = '3s')", ErrUnfit)
	case !warnings:
		return fmt.Errorf("%w: client_min_messages is error for this role, flowkeep must hear warnings (ALTER ROLE … SET client_min_messages = warning)", ErrUnfit)
	}
	return nil
}
