package backfill_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/backfill"
)

// runWatch runs w until the test ends.
func runWatch(t *testing.T, w *backfill.Watch) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

// watchRows returns a look at the keys that are stored, on one session.
func watchRows(t *testing.T, url string) func() string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return func() (keys string) {
		if err := conn.QueryRow(t.Context(), "SELECT coalesce(string_agg(message_id, ',' ORDER BY message_id), '') FROM flow_responses").Scan(&keys); err != nil {
			t.Fatal(err)
		}
		return keys
	}
}
