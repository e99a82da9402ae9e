package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/simulate"
)

// Whatever deliveries come, in whatever order, however often, one by one or
// together, through the writer, the spool or quarantine: the tables end the
// same, as if each message had come once.
func TestProperty_TheTablesEndTheSame(t *testing.T) {
	t.Parallel()
	url := postgres.New(t)
	k, conn, pool := newTestKeeper(t, url, 4, queueRows), connect(t, url), pooledInputs(t)
	rapid.Check(t, func(rt *rapid.T) {
		if _, err := conn.Exec(t.Context(), emptySQL); err != nil {
			rt.Fatal(err)
		}
		chosen := rapid.SliceOfNDistinct(rapid.IntRange(0, len(pool)-1), 1, 8, rapid.ID[int]).Draw(rt, "deliveries")
		var sequence []int
		for _, i := range chosen {
			for range rapid.IntRange(1, 3).Draw(rt, "times") {
				sequence = append(sequence, i)
			}
		}
		sequence = rapid.Permutation(sequence).Draw(rt, "order")
		for len(sequence) > 0 {
			n := rapid.IntRange(1, len(sequence)).Draw(rt, "together")
			way := rapid.SampledFrom(ways()).Draw(rt, "way")
			part := make([]flowparse.Delivery, n)
			for i, at := range sequence[:n] {
				part[i] = k.parser.Parse(pool[at])
			}
			if err := way.send(t.Context(), k, part); err != nil {
				rt.Fatalf("%s: %v", way.name, err)
			}
			sequence = sequence[n:]
		}
		if err := drainAll(t.Context(), k); err != nil {
			rt.Fatal(err)
		}
		rows, waiting := expect(k.parser, pool, chosen)
		if err := errors.Join(checkTable(t.Context(), conn, rows), checkWaiting(t.Context(), conn, waiting)); err != nil {
			rt.Fatal(err)
		}
	})
}

// All that a property may send, at once: so every run sees every input.
func TestProperty_EveryInput(t *testing.T) {
	t.Parallel()
	url := postgres.New(t)
	k, conn, pool := newTestKeeper(t, url, 4, queueRows), connect(t, url), pooledInputs(t)
	part, all := make([]flowparse.Delivery, len(pool)), make([]int, len(pool))
	for i := range pool {
		part[i], all[i] = k.parser.Parse(pool[i]), i
	}
	for _, w := range ways() {
		if err := errors.Join(w.send(t.Context(), k, part), drainAll(t.Context(), k)); err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		rows, waiting := expect(k.parser, pool, all)
		if err := errors.Join(checkTable(t.Context(), conn, rows), checkWaiting(t.Context(), conn, waiting)); err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		if _, err := conn.Exec(t.Context(), emptySQL); err != nil {
			t.Fatal(err)
		}
	}
}

const emptySQL = "DELETE FROM flow_responses; DELETE FROM quarantine"

// pooledInputs returns what a property may send: the corpus, traffic of every
// kind, and messages that came in two forms.
func pooledInputs(t *testing.T) []flowparse.Input {
	t.Helper()
	var pool []flowparse.Input
	files, err := filepath.Glob(corpusDir + "/payloads/*.json")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d payloads, %v", len(files), err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		headers := corpusHeaders(t, file)
		pool = append(pool, flowparse.Input{Body: body, Event: headers["X-Webhook-Event"], IdempotencyKey: headers["X-Idempotency-Key"]})
	}
	for batch, n := range map[int]int64{1: 60, 4: 20} {
		traffic, err := simulate.NewTraffic(7, batch, mixOf(t, "default=3,custom=3,other=1,odd=5"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			s := traffic.Delivery(i)
			pool = append(pool, flowparse.Input{Body: s.Body, Event: s.Header.Get("X-Webhook-Event"), IdempotencyKey: s.Header.Get("X-Idempotency-Key")})
		}
	}
	for i := range 10 {
		item := flowItem(fmt.Sprint("wamid.twin", i), "as Kapso tells it")
		message := strings.TrimSuffix(strings.TrimPrefix(flowItem(fmt.Sprint("wamid.twin", i), "as Meta tells it"), `{"message":`), "}")
		meta := `{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{"messages":[` + message + `]}}]}]}`
		pool = append(pool, flowparse.Input{Body: []byte(item)}, flowparse.Input{Body: []byte(meta)})
	}
	for i := range pool {
		pool[i].ReceivedAt = time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC)
	}
	return pool
}
