package store

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"
)

// sqlState returns the five characters that Postgres gave, or "".
func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// isRowFault says whether the rows of a statement are to blame, and not the
// database. Only of a row that fails alone may it be believed.
func isRowFault(err error) bool {
	switch class(sqlState(err)) {
	case "21", "22", "23", "54":
		return true
	}
	return false
}

// isExpected says whether err is one of the known ways in which a database is
// away. Anything else counts as away too, but somebody should look at it.
func isExpected(err error) bool {
	switch state := sqlState(err); class(state) {
	case "": // cut or refused connection, deadline
		return true
	case "08", "40", "53", "55", "57", "28", "3D", "42":
		return true
	default:
		return state == "25006"
	}
}

func class(state string) string {
	if len(state) != 5 {
		return ""
	}
	return state[:2]
}

// unavailable wraps err so that callers see ErrUnavailable.
func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

// describe says in a log line what failed without quoting the database, whose
// messages contain values.
func describe(ev *zerolog.Event, err error) *zerolog.Event {
	if state := sqlState(err); state != "" {
		return ev.Str("sqlstate", state)
	}
	return ev.Err(err)
}
