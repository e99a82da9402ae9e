package store

import (
	"errors"
	"fmt"
	"strings"

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

// unavailable wraps err so that callers see ErrUnavailable. What the database
// said is in the text only if it is one of the known ways to be away: any other
// message, a trigger's for instance, may quote a row.
func unavailable(err error) error {
	if !isExpected(err) {
		err = hushed{err}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// hushed is an error that tells no more than its SQLSTATE.
type hushed struct{ error }

func (h hushed) Error() string { return "SQLSTATE " + sqlState(h.error) }

func (h hushed) Unwrap() error { return h.error }

// UnreadableURL says what is wrong with a connection string that pgx could not
// parse. It does not quote the string, since pgx does not find every password in
// a broken one.
func UnreadableURL(err error) error {
	text := err.Error()
	if end := strings.LastIndex(text, "`: "); end >= 0 {
		text = text[end+len("`: "):]
	}
	return errors.New("read DATABASE_URL: " + text)
}

// describe says in a log line what failed without quoting the database, whose
// messages contain values.
func describe(ev *zerolog.Event, err error) *zerolog.Event {
	if state := sqlState(err); state != "" {
		return ev.Str("sqlstate", state)
	}
	return ev.Err(err)
}

// IsRowFault says whether Postgres refused a statement for what is in its rows.
func IsRowFault(err error) bool { return isRowFault(err) }

// Unavailable is what the rooms that only read wrap an error of the database
// with: callers see ErrUnavailable, and its text quotes no row. A right, table or
// view that is missing (class 42) is not that: to ask again is of no use.
func Unavailable(err error) error {
	if class(sqlState(err)) == "42" {
		return fmt.Errorf("the database refuses, see \"The role in Postgres\" in docs/security.md: %w", err)
	}
	return unavailable(err)
}
