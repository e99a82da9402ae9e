package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ReaderRole is a role without a login of its own. It may select from the views
// in the schema flows, from flow_answers and flow_funnel, and from flow_responses
// without raw; nothing else.
const ReaderRole = "flowkeep_reader"

// ErrNoReader means that there is no ReaderRole, and that we may not make it or
// may not give it its rights. The message says what an administrator can do.
var ErrNoReader = errors.New(`there is no role ` + ReaderRole +
	` with its rights: a superuser can say "CREATE ROLE ` + ReaderRole + ` NOLOGIN", and the owner of the tables "flowkeep migrate up"`)

// GrantReader makes ReaderRole, unless it is there, and gives it the rights that
// it lacks in the database at url. Columns and views that are new get theirs. Any
// number of servers may call it at once.
func GrantReader(ctx context.Context, url string) error {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return UnreadableURL(err)
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	setDefault(cfg.RuntimeParams, "application_name", "flowkeep migrate")
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect: %w", unavailable(err))
	}
	defer conn.Close(ctx)
	if err := makeReader(ctx, conn); err != nil {
		return err
	}
	const tries = 10
	for try := 1; ; try++ {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return grantMissing(ctx, tx) })
		switch sqlState(err) {
		case "XX000", "55P03", "40P01": // somebody changes the same view, or grants the same
			if try < tries {
				continue
			}
		case "42501":
			return ErrNoReader
		}
		if err != nil {
			return fmt.Errorf("grant to %s: %w", ReaderRole, unavailable(err))
		}
		return nil
	}
}

const readerSQL = `
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '` + ReaderRole + `'),
	EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolcreaterole))`

// makeReader makes the role. It is the cluster's: another database's flowkeep
// may be faster.
func makeReader(ctx context.Context, conn *pgx.Conn) error {
	var there, may bool
	err := conn.QueryRow(ctx, readerSQL).Scan(&there, &may)
	if err == nil && !there {
		if !may {
			return ErrNoReader
		}
		_, err = conn.Exec(ctx, "CREATE ROLE "+ReaderRole+" NOLOGIN")
	}
	switch state := sqlState(err); {
	case err == nil, state == "42710", state == "23505":
		return nil
	case state == "42501":
		return ErrNoReader
	}
	return fmt.Errorf("make %s: %w", ReaderRole, unavailable(err))
}

// missingGrantsSQL returns the statements that give the role what it lacks. What
// it has is left alone, so that an ordinary start writes nothing.
const missingGrantsSQL = `
SELECT format('GRANT USAGE ON SCHEMA %I TO ` + ReaderRole + `', nspname)
FROM pg_namespace
WHERE oid IN (to_regnamespace('flows'), (SELECT relnamespace FROM pg_class WHERE oid = 'flow_responses'::regclass))
	AND NOT has_schema_privilege('` + ReaderRole + `', oid, 'USAGE')
UNION ALL
SELECT format('GRANT SELECT ON %s TO ` + ReaderRole + `', oid::regclass)
FROM pg_class
WHERE (relnamespace = to_regnamespace('flows') AND relkind = 'v' OR oid IN ('flow_answers'::regclass, 'flow_funnel'::regclass))
	AND NOT has_table_privilege('` + ReaderRole + `', oid, 'SELECT')
UNION ALL
SELECT format('GRANT EXECUTE ON FUNCTION %s TO ` + ReaderRole + `', oid::regprocedure)
FROM pg_proc
WHERE pronamespace = to_regnamespace('flows') AND NOT has_function_privilege('` + ReaderRole + `', oid, 'EXECUTE')
UNION ALL
SELECT format('GRANT SELECT (%I) ON %s TO ` + ReaderRole + `', attname, attrelid::regclass)
FROM pg_attribute
WHERE attrelid = 'flow_responses'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'raw'
	AND NOT has_column_privilege('` + ReaderRole + `', attrelid, attnum, 'SELECT')`

func grantMissing(ctx context.Context, tx pgx.Tx) error {
	// As for everybody else: who waits for a lock makes others wait.
	if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '1s'"); err != nil {
		return err
	}
	rows, _ := tx.Query(ctx, missingGrantsSQL)
	grants, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, sql := range grants {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}
