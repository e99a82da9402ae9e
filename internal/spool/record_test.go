package spool

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

func TestRecord_RoundTripAndFlippedBits(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 5))
	text := func(most int) string {
		b := make([]byte, random.IntN(most+1))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return string(b)
	}
	for range 2000 {
		want := Entry{Key: random.Uint64(), Record: Record{
			ReceivedAt:     time.Unix(random.Int64N(1<<41)-1<<40, random.Int64N(1e9)).UTC(),
			Source:         text(10),
			Event:          text(40),
			IdempotencyKey: text(70),
			Body:           []byte("x" + text(3000)),
		}}
		b, err := encode(&want.Record)
		if err != nil {
			t.Fatal(err)
		}
		seal(b, want.Key)
		got, err := decode(b)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "record", got, want)
		i := random.IntN(len(b) * 8)
		b[i/8] ^= 1 << (i % 8)
		for what, bad := range map[string][]byte{"with a flipped bit": b, "cut short": b[:i/8]} {
			if _, err := decode(bad); !errors.Is(err, errUnreadable) {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
}
