package spool

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkAppend appends records of 2 KB, each synced, from several goroutines.
func BenchmarkAppend(b *testing.B) {
	for _, goroutines := range []int{1, 16, 128} {
		b.Run(fmt.Sprint(goroutines), func(b *testing.B) {
			s := open(b, folder(b), Options{MaxBytes: 64 << 30})
			record := []Record{numbered(1, 2048)}
			took := make([]time.Duration, b.N)
			work := make(chan int, b.N)
			for i := range b.N {
				work <- i
			}
			close(work)
			b.SetBytes(2048)
			b.ResetTimer()
			var all sync.WaitGroup
			for range goroutines {
				all.Go(func() {
					for i := range work {
						start := time.Now()
						if err := s.Append(b.Context(), record); err != nil {
							b.Error(err)
						}
						took[i] = time.Since(start)
					}
				})
			}
			all.Wait()
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(took[len(took)-1].Microseconds()), "max-µs")
		})
	}
}

// BenchmarkDrain reads and removes 500 records of 2 KB at a time.
func BenchmarkDrain(b *testing.B) {
	s := open(b, folder(b), Options{})
	batch := make([]Record, 500)
	for i := range batch {
		batch[i] = numbered(i, 2048)
	}
	for range b.N + 20 {
		appendTo(b, s, batch...)
	}
	b.SetBytes(500 * 2048)
	b.ResetTimer()
	for range b.N {
		entries, err := s.Oldest(500, 16<<20)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Remove(keys(entries)...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens a spool that holds 64 MiB.
func BenchmarkOpen(b *testing.B) {
	dir := folder(b)
	s := open(b, dir, Options{})
	for i := range 32 {
		batch := make([]Record, 1000)
		for j := range batch {
			batch[j] = numbered(i, 2048)
		}
		appendTo(b, s, batch...)
	}
	size := s.Stats().Bytes
	closeSpool(b, s)
	b.SetBytes(size)
	for b.Loop() {
		s, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		closeSpool(b, s)
	}
}
