package flows

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrRefused means that a command asks for what cannot be done. The message
// says why.
var ErrRefused = errors.New("refused")

// Types returns the types that a column can be given.
func Types() []string {
	return []string{typeBoolean, typeNumeric, typeDate, typeTimestamp, typeText, typeTexts, typeJSON}
}

// namePattern is an identifier that needs no quotes.
var namePattern = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

const findFlowSQL = `SELECT id FROM flow_catalog WHERE id = $1 OR name = $1 OR view = $1 ORDER BY id = $1 DESC LIMIT 1`

// find returns a flow by its id, its name or its view.
func find(ctx context.Context, tx pgx.Tx, text string) (*flow, error) {
	var id string
	err := tx.QueryRow(ctx, findFlowSQL, text).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("%w: there is no flow %q; \"flowkeep flows\" lists them", ErrRefused, text)
	}
	if err != nil {
		return nil, fmt.Errorf("find a flow: %w", err)
	}
	return loadFlow(ctx, tx, id)
}

// Name gives a flow's view another name. Whatever depends on the view goes on
// to. The flow is given by id, name or view.
func (k *Keeper) Name(ctx context.Context, flowID, name string) error {
	if !namePattern.MatchString(name) || name == "unlinked" {
		return fmt.Errorf("%w: a name has lower-case letters, digits and _, 63 at most, and is not \"unlinked\"", ErrRefused)
	}
	return k.command(ctx, func(tx pgx.Tx) error {
		f, err := find(ctx, tx, flowID)
		if err != nil {
			return err
		}
		if f.hasView && f.view != name {
			sql := "ALTER VIEW flows." + quoteName(f.view) + " RENAME TO " + quoteName(name)
			if _, err := tx.Exec(ctx, sql); sqlState(err) == "42P07" {
				return fmt.Errorf("%w: there is already a view %q", ErrRefused, name)
			} else if err != nil {
				return fmt.Errorf("rename a view: %w", err)
			}
		}
		f.name, f.view = name, name
		if !f.hasView {
			if _, err := f.shape(ctx, tx); err != nil {
				return err
			}
		}
		return f.save(ctx, tx)
	})
}

// Retype gives a key's column another type, one of Types, which must hold every
// answer so far. It refuses with the names of what is in the way. The key may
// also be given as its column.
func (k *Keeper) Retype(ctx context.Context, flowID, key, columnType string) error {
	if !slices.Contains(Types(), columnType) {
		return fmt.Errorf("%w: the types are %s", ErrRefused, strings.Join(Types(), ", "))
	}
	return k.command(ctx, func(tx pgx.Tx) error {
		f, err := find(ctx, tx, flowID)
		if err != nil {
			return err
		}
		found := f.key(key)
		for i := range f.state.Keys {
			if found == nil && f.state.Keys[i].Column == key {
				found = &f.state.Keys[i]
			}
		}
		if found == nil || !f.hasView {
			return fmt.Errorf("%w: flow %s has no column for the key %q", ErrRefused, f.id, key)
		}
		if !found.Fits.holds(columnType) {
			return fmt.Errorf("%w: not every answer so far is a %s; those that are not would read as null", ErrRefused, columnType)
		}
		if f.state.Chosen == nil {
			f.state.Chosen = map[string]string{}
		}
		f.state.Chosen[found.Key] = columnType
		blocked, err := f.shape(ctx, tx)
		if err != nil {
			return err
		}
		if found.Type != columnType {
			return fmt.Errorf("%w: this depends on flows.%s: %s. Drop it, say this again, and make it anew", ErrRefused, quoteName(f.view), strings.Join(blocked, ", "))
		}
		return f.save(ctx, tx)
	})
}

const retainSQL = `UPDATE flow_catalog SET retention = $2::interval WHERE id = $1`

// Retain sets how long the answers of a flow are kept after they were stored: 0
// is for ever, and nil as long as those of other flows. The flow is given by id,
// name or view.
func (k *Keeper) Retain(ctx context.Context, flowID string, keep *time.Duration) error {
	return k.command(ctx, func(tx pgx.Tx) error {
		f, err := find(ctx, tx, flowID)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, retainSQL, f.id, keep); err != nil {
			return fmt.Errorf("write the catalog: %w", err)
		}
		return nil
	})
}

// command does something in one transaction, and again as long as the views are
// in use.
func (k *Keeper) command(ctx context.Context, do func(pgx.Tx) error) error {
	return k.insist(ctx, func() error { return k.once(ctx, do) })
}

// Sync makes every view from the table, from nothing: the catalog is forgotten
// but for what a person chose. It returns the number of flows. A server may run
// meanwhile.
func (k *Keeper) Sync(ctx context.Context) (int, error) {
	var ids []string
	err := k.command(ctx, func(tx pgx.Tx) (err error) {
		rows, _ := tx.Query(ctx, allFlowsSQL)
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("find the flows: %w", err)
	}
	for _, id := range append(ids, k.known...) {
		if err := k.syncFlow(ctx, id); err != nil {
			return 0, fmt.Errorf("flow %s: %w", id, err)
		}
	}
	return len(ids), nil
}

func (k *Keeper) syncFlow(ctx context.Context, id string) error {
	err := k.command(ctx, func(tx pgx.Tx) error {
		f, err := loadFlow(ctx, tx, id)
		if err != nil {
			return err
		}
		return f.restart(ctx, tx)
	})
	for more := true; more && err == nil; {
		var later bool
		err = k.insist(ctx, func() (err error) {
			more, later, err = k.tend(ctx, id, true)
			return err
		})
		if later {
			more = true
			pause(ctx, 50*time.Millisecond)
		}
	}
	return err
}

// restart has the flow's answers looked at from the first one on, again.
func (f *flow) restart(ctx context.Context, tx pgx.Tx) error {
	blocked, err := dependents(ctx, tx, f.view)
	if err != nil {
		return err
	}
	f.forget(len(blocked) > 0)
	return f.save(ctx, tx)
}
