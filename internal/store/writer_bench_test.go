package store_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"flowkeep/internal/store"
)

// BenchmarkWriter is the cost of a delivery of one response from Put to its
// result, for some senders at once. The tests' Postgres has fsync off, so this
// shows the writer's own cost and not the disk's: "make bench" does that. Four
// of the allocations are the benchmark's, for the delivery itself.
func BenchmarkWriter(b *testing.B) {
	raw := bytes.Repeat([]byte("x"), 2200) // as long as a delivery of Kapso's
	for _, senders := range []int{1, 32, 128} {
		b.Run(fmt.Sprint(senders), func(b *testing.B) {
			db, err := store.Open(postgres.New(b), 4, zerolog.Nop())
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(db.Close)
			w := store.NewWriter(db, 2, 1000, zerolog.Nop())
			b.Cleanup(w.Close)
			if _, err := w.Put(b.Context(), delivery(response("connects"))); err != nil {
				b.Fatal(err)
			}
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range senders {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						r := response(fmt.Sprintf("wamid.%032d", i))
						r.Raw = raw
						if results, err := w.Put(b.Context(), delivery(r)); err != nil || results[0] != store.Stored {
							b.Errorf("%v %v", results, err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
