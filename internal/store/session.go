package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// errOneCopy means that Postgres stopped waiting for its synchronous standby
// and reported success: the rows may be on the primary only. The next try waits
// again, since the conflict clause locks them.
var errOneCopy = errors.New("commit was not confirmed by the standby")

const warnedKey = "flowkeep warned"

// noteWarning marks a session whose commit may have been cut short. Postgres
// says so with a warning of no class of its own (01000), in the server's
// language; any such warning counts.
func noteWarning(conn *pgconn.PgConn, n *pgconn.Notice) {
	if n.Code == "01000" {
		conn.CustomData()[warnedKey] = true
	}
}

// durably runs do on a session, and believes its success only if the server
// gave no warning meanwhile.
func (db *DB) durably(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	marks := conn.Conn().PgConn().CustomData()
	delete(marks, warnedKey)
	if err := do(conn.Conn()); err != nil {
		return err
	}
	if marks[warnedKey] != nil {
		return errOneCopy
	}
	return nil
}

// twice runs do, and again if the first failure was that of a session rather
// than of the database. All idle sessions are given up in between, since they
// ended with the server that ended this one.
func (db *DB) twice(ctx context.Context, do func(*pgx.Conn) error) error {
	err := db.durably(ctx, do)
	if err == nil || ctx.Err() != nil {
		return err
	}
	switch class(sqlState(err)) {
	case "", "08", "57": // errOneCopy too: the rows are sent again
		db.pool.Reset()
	case "40":
	default:
		return err
	}
	return db.durably(ctx, do)
}
