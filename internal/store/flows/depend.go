package flows

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/store"
)

// dependentsSQL names what of others depends on a view: views, materialized
// views, functions, columns of its type.
const dependentsSQL = `
SELECT DISTINCT coalesce(
	(SELECT CASE c.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || c.oid::regclass
	 FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class WHERE d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid),
	pg_describe_object(d.classid, d.objid, d.objsubid))
FROM pg_class v
JOIN pg_type t ON t.oid = v.reltype
JOIN pg_depend d ON (d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid)
	OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray))
WHERE v.oid = to_regclass('flows.' || quote_ident($1)) AND d.deptype = 'n'
	AND NOT (d.classid = 'pg_rewrite'::regclass AND EXISTS (SELECT FROM pg_rewrite w WHERE w.oid = d.objid AND w.ev_class = v.oid))
ORDER BY 1`

func dependents(ctx context.Context, tx pgx.Tx, view string) ([]string, error) {
	rows, _ := tx.Query(ctx, dependentsSQL, view)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read what depends on a view: %w", err)
	}
	return list, nil
}

// grantsSQL returns the statements that give a view's rights again, or for a
// view that is not there yet, those of the role that reads all of them.
const grantsSQL = `
SELECT format('GRANT %s ON flows.%I TO %s%s', a.privilege_type, v.relname,
	CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
	CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_class v, aclexplode(v.relacl) AS a
WHERE v.oid = to_regclass('flows.' || quote_ident($1)) AND a.grantee <> v.relowner
UNION ALL
SELECT format('GRANT SELECT ON flows.%I TO %I', $1::text, rolname)
FROM pg_roles
WHERE rolname = '` + store.ReaderRole + `' AND to_regclass('flows.' || quote_ident($1)) IS NULL`

func readGrants(ctx context.Context, tx pgx.Tx, view string) ([]string, error) {
	rows, _ := tx.Query(ctx, grantsSQL, view)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read a view's grants: %w", err)
	}
	return list, nil
}
