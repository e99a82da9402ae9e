package store_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"flowkeep/internal/store"
)

// Of many servers one gets a number, and the next only when it is due again.
func TestDB_ClaimBackfill(t *testing.T) {
	t.Parallel()
	db := open(t, postgres.New(t))
	var claims atomic.Int32
	var servers sync.WaitGroup
	for range 4 {
		servers.Go(func() {
			_, due, err := db.ClaimBackfill(t.Context(), []string{"1"}, time.Hour)
			if err != nil {
				t.Error(err)
			}
			if due {
				claims.Add(1)
			}
		})
	}
	servers.Wait()
	if claims.Load() != 1 {
		t.Fatalf("%d servers claimed the number", claims.Load())
	}
	until := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	p := store.BackfillProgress{PhoneNumberID: "1", CompleteUntil: &until, Seen: 5, Added: 2}
	if err := db.NoteBackfill(t.Context(), &p, 0); err != nil {
		t.Fatal(err)
	}
	p.CompleteUntil, p.Fault = nil, "Kapso throttles"
	if err := db.NoteBackfill(t.Context(), &p, 0); err != nil { // a failure takes nothing back
		t.Fatal(err)
	}
	p, due, err := db.ClaimBackfill(t.Context(), []string{"1"}, time.Hour)
	if err != nil || !due || !p.CompleteUntil.Equal(until) || p.LastRunAt == nil || p.Added != 2 || p.Fault != "Kapso throttles" {
		t.Errorf("%v, %v, %+v", err, due, p)
	}
	if err := db.HoldBackfill(t.Context(), "1", 0); err != nil {
		t.Fatal(err)
	}
	if _, due, err = db.ClaimBackfill(t.Context(), []string{"2", "1"}, time.Hour); err != nil || !due {
		t.Errorf("%v, %v", err, due)
	}
	if list, err := db.BackfillProgress(t.Context(), []string{"1", "2"}); err != nil || len(list) != 2 {
		t.Errorf("%v, %+v", err, list)
	}
}
