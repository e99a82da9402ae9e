package store_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/store"
)

// BenchmarkWriter is the cost of a delivery of one response from Put to its
// result, for some senders at once. The tests' Postgres has fsync off, so this
// shows the writer's own cost and not the disk's: "make bench" does that. Four
// of the allocations are the benchmark's, for the delivery itself.
func BenchmarkWriter(b *testing.B) {
	for _, senders := range []int{1, 32, 128} {
		b.Run(fmt.Sprint(senders), func(b *testing.B) { benchmarkWriter(b, postgres.New(b), senders) })
	}
}

// BenchmarkWriterRegister is the same with a million sends in the register, to
// each of which somebody answers.
func BenchmarkWriterRegister(b *testing.B) {
	url := postgres.New(b)
	conn, err := pgx.Connect(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close(context.Background()) })
	if _, err := conn.Exec(b.Context(), `INSERT INTO flow_sends (wamid, flow_id, flow_token, linked_at)
		SELECT 'wamid.sent.' || to_char(i, 'FM00000000000000000000000000000000'), (i % 10)::text, 'order-' || i, now() FROM generate_series(1, 1000000) AS i`); err != nil {
		b.Fatal(err)
	}
	if _, err := conn.Exec(b.Context(), `VACUUM ANALYZE flow_sends`); err != nil {
		b.Fatal(err)
	}
	for _, senders := range []int{1, 128} {
		b.Run(fmt.Sprint(senders), func(b *testing.B) {
			if _, err := conn.Exec(b.Context(), `TRUNCATE flow_responses`); err != nil {
				b.Fatal(err)
			}
			benchmarkWriter(b, url, senders)
		})
	}
}

func benchmarkWriter(b *testing.B, url string, senders int) {
	b.Helper()
	raw := bytes.Repeat([]byte("x"), 2200) // as long as a delivery of Kapso's
	db, err := store.Open(url, 4, zerolog.Nop())
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
				r.ContextMessageID = fmt.Sprintf("wamid.sent.%032d", i*7919%1_000_000)
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
}
