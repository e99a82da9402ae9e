package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const connectTimeout = 5 * time.Second

const (
	missingSQL = `SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '` + role + `'),
		NOT EXISTS (SELECT FROM pg_database WHERE datname = '` + database + `')`
	createRoleSQL     = `CREATE ROLE ` + role + ` LOGIN CREATEDB`
	createDatabaseSQL = `CREATE DATABASE ` + database + ` OWNER ` + role
	identitySQL       = `SELECT current_setting('data_directory'), current_setting('cluster_name')`
)

// createDatabase makes the role and its database if they are missing.
func createDatabase(ctx context.Context, socketDir string) error {
	conn, err := connect(ctx, socketDir)
	if err != nil {
		return fmt.Errorf("connect to create the database: %w", err)
	}
	defer closeConn(conn)
	missing, err := queryRow(ctx, conn, missingSQL)
	if err != nil {
		return fmt.Errorf("look for the database: %w", err)
	}
	for i, sql := range []string{createRoleSQL, createDatabaseSQL} {
		if missing[i] != "t" {
			continue
		}
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// accepts says whether the server lets us in. An error is one that waiting
// does not mend.
func accepts(ctx context.Context, socketDir string) (bool, error) {
	conn, err := connect(ctx, socketDir)
	if err == nil {
		closeConn(conn)
		return true, nil
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code != "57P03" { // cannot_connect_now
		return false, fmt.Errorf("connect: %w", err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return false, fmt.Errorf("connect: %w", err)
	}
	return false, nil
}

// identity returns the data folder and the cluster_name of whatever server
// has its socket in socketDir.
func identity(ctx context.Context, socketDir string) (data, cluster string, err error) {
	conn, err := connect(ctx, socketDir)
	if err != nil {
		return "", "", err
	}
	defer closeConn(conn)
	row, err := queryRow(ctx, conn, identitySQL)
	if err != nil {
		return "", "", err
	}
	return row[0], row[1], nil
}

func connect(ctx context.Context, socketDir string) (*pgconn.PgConn, error) {
	config, err := pgconn.ParseConfig(connString(socketDir, superuser, superuser))
	if err != nil {
		return nil, err
	}
	config.ConnectTimeout = connectTimeout
	return pgconn.ConnectConfig(ctx, config)
}

func closeConn(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // a goodbye that nobody hears does no harm
}

// queryRow runs sql, which returns one row of two columns.
func queryRow(ctx context.Context, conn *pgconn.PgConn, sql string) ([2]string, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return [2]string{}, err
	}
	row := results[0].Rows[0]
	return [2]string{string(row[0]), string(row[1])}, nil
}
