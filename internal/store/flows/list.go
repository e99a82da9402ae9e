package flows

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Flow is what is known of one flow.
type Flow struct {
	ID      string
	View    string    // in the schema flows; empty if it has none
	Answers int64     // in the table
	First   time.Time // stored_at of the first of them; zero without answers
	Last    time.Time
	Columns []Column       // in the view's order, after the fixed ones
	More    bool           // some keys have no column: they are too many, or too long
	Lists   int64          // answers that are a list, without keys: not in the view
	Keep    *time.Duration // how long answers are kept; 0 is for ever, nil as those of other flows
}

// Column is what is known of one key of a flow's answers.
type Column struct {
	Key     string
	Name    string
	Type    string
	Filled  float64 // share of the answers that have it, not null
	Misfits int64   // answers that do not fit the type and read as null
	Better  string  // the type that they fit
}

const countsSQL = `
SELECT coalesce(flow_id, ''), count(*), min(stored_at), max(stored_at) FROM flow_responses GROUP BY flow_id`

const catalogSQL = `SELECT id, retention FROM flow_catalog ORDER BY id`

// kept is a flow and how long its answers are kept.
type kept struct {
	id   string
	keep *time.Duration
}

// List returns every flow of the catalog by id, and the number of answers that
// have no flow.
func (k *Keeper) List(ctx context.Context) (list []Flow, unlinked int64, err error) {
	err = pgx.BeginFunc(ctx, k.pool, func(tx pgx.Tx) error {
		counts := map[string]Flow{}
		var c Flow
		rows, _ := tx.Query(ctx, countsSQL)
		_, err := pgx.ForEachRow(rows, []any{&c.ID, &c.Answers, &c.First, &c.Last}, func() error {
			counts[c.ID] = c
			return nil
		})
		if err != nil {
			return fmt.Errorf("count answers: %w", err)
		}
		unlinked = counts[""].Answers
		rows, _ = tx.Query(ctx, catalogSQL)
		all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f kept, err error) {
			return f, row.Scan(&f.id, &f.keep)
		})
		if err != nil {
			return fmt.Errorf("read the catalog: %w", err)
		}
		for _, a := range all {
			f, err := loadFlow(ctx, tx, a.id)
			if err != nil {
				return err
			}
			described := f.describe(counts[a.id])
			described.Keep = a.keep
			list = append(list, described)
		}
		return nil
	})
	return list, unlinked, err
}

// describe adds to the counts what the catalog knows.
func (f *flow) describe(d Flow) Flow {
	d.ID, d.More, d.Lists = f.id, f.state.More, f.state.Lists
	if f.hasView {
		d.View = f.view
	}
	for _, k := range f.state.Keys {
		d.Columns = append(d.Columns, Column{
			Key: k.Key, Name: k.Column, Type: k.Type, Misfits: k.Misfits,
			Filled: float64(k.Filled) / float64(max(f.answers, 1)), Better: k.bestType(f.state.Chosen[k.Key]),
		})
	}
	return d
}
