package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store"
	"flowkeep/internal/store/storetest"
)

func TestWriter_EveryColumnComesBack(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	token := "order-77"
	r := flowparse.Response{
		MessageID: "wamid.A", FlowToken: &token, TokenKind: flowparse.TokenCustom, FlowID: "123456789012345",
		FlowIDSource: flowparse.FlowFromKnownFlow, FlowName: "booking ✓", Answers: []byte(`{"n": 12345678901234567890.10, "ü": [true, null]}`),
		Status: flowparse.StatusSanitized, PhoneNumberID: "647015955153740", WaID: "15551234567", UserID: "US.abc",
		ContactName: "Ana Ñ", ConversationID: "c-1", ContextMessageID: "wamid.B",
		SentAt: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), Raw: []byte("{\xff\x00raw}"),
	}
	d := delivery(r)
	d.IdempotencyKey = "key-1"
	before := time.Now().Add(-time.Minute)
	if got := put(t, w, d); !slices.Equal(got, []store.Result{store.Stored}) {
		t.Fatalf("results = %v", got)
	}
	rows, err := storetest.Connect(t, url).Query(t.Context(), `
		SELECT message_id, flow_token, token_kind, flow_id, flow_id_source, flow_name, response::text, response_status,
			phone_number_id, wa_id, user_id, contact_name, conversation_id, context_message_id, source, idempotency_key,
			raw, sent_at, received_at, stored_at FROM flow_responses`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
	if err != nil {
		t.Fatal(err)
	}
	storedAt, _ := got["stored_at"].(time.Time)
	if storedAt.Before(before) || storedAt.After(time.Now().Add(time.Minute)) {
		t.Errorf("stored_at = %v", storedAt)
	}
	delete(got, "stored_at")
	got["sent_at"], got["received_at"] = got["sent_at"].(time.Time).UTC(), got["received_at"].(time.Time).UTC()
	want := map[string]any{
		"message_id": "wamid.A", "flow_token": "order-77", "token_kind": "custom", "flow_id": "123456789012345",
		"flow_id_source": "known_flow", "flow_name": "booking ✓", "response": `{"n": 12345678901234567890.10, "ü": [true, null]}`,
		"response_status": "sanitized", "phone_number_id": "647015955153740", "wa_id": "15551234567", "user_id": "US.abc",
		"contact_name": "Ana Ñ", "conversation_id": "c-1", "context_message_id": "wamid.B", "source": "kapso",
		"idempotency_key": "key-1", "raw": []byte("{\xff\x00raw}"),
		"sent_at": time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), "received_at": d.ReceivedAt,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWriter_WhatIsUnknownIsNull(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	put(t, w, delivery(flowparse.Response{
		MessageID: "m", TokenKind: flowparse.TokenNone, Answers: []byte(`[]`), Status: flowparse.StatusOK, Raw: []byte{},
	}))
	nulls := query[int](t, storetest.Connect(t, url), `
		SELECT num_nulls(flow_token, flow_id, flow_id_source, flow_name, phone_number_id, wa_id, user_id,
			contact_name, conversation_id, context_message_id, idempotency_key, sent_at) FROM flow_responses`)
	if nulls != 12 {
		t.Errorf("%d of 12 columns are null", nulls)
	}
}

func TestWriter_AnEmptyTokenIsNotNull(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	r, empty := response("m"), ""
	r.FlowToken = &empty
	put(t, w, delivery(r))
	if got := query[*string](t, storetest.Connect(t, url), "SELECT flow_token FROM flow_responses"); got == nil || *got != "" {
		t.Errorf("flow_token = %v", got)
	}
}

func TestWriter_Duplicates(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 2, 100)
	first := response("a")
	first.Answers = []byte(`{"first": true}`)
	again := response("a")

	// Inside one delivery the first wins.
	got := put(t, w, delivery(first, again, response("b")))
	if want := []store.Result{store.Stored, store.Duplicate, store.Stored}; !slices.Equal(got, want) {
		t.Errorf("one delivery: %v, want %v", got, want)
	}
	got = put(t, w, delivery(response("c"), again))
	if want := []store.Result{store.Stored, store.Duplicate}; !slices.Equal(got, want) {
		t.Errorf("later delivery: %v, want %v", got, want)
	}
	conn := storetest.Connect(t, url)
	if n := query[int](t, conn, "SELECT count(*)::int FROM flow_responses"); n != 3 {
		t.Errorf("%d rows, want 3", n)
	}
	if s := query[string](t, conn, "SELECT response::text FROM flow_responses WHERE message_id = 'a'"); s != `{"first": true}` {
		t.Errorf("the first answer was replaced by %s", s)
	}
}

func TestWriter_PoisonCostsOnlyItself(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 2000)
	list := numbered("good", 600) // more than one batch
	for _, i := range []int{0, 77, 78, 499, 599} {
		list[i] = poison(list[i].MessageID)
	}
	results := put(t, w, delivery(list...))
	for i, r := range results {
		want := store.Stored
		if slices.Contains([]int{0, 77, 78, 499, 599}, i) {
			want = store.Quarantined
		}
		if r != want {
			t.Errorf("item %d: %v, want %v", i, r, want)
		}
	}
	conn := storetest.Connect(t, url)
	if n := query[int](t, conn, "SELECT count(*)::int FROM flow_responses"); n != 595 {
		t.Errorf("%d rows, want 595", n)
	}
	bad := query[int](t, conn, `SELECT count(*)::int FROM quarantine
		WHERE reason = 'rejected_by_database' AND detail LIKE 'SQLSTATE 22%' AND settled_at IS NULL`)
	if bad != 5 {
		t.Errorf("%d records in quarantine, want 5", bad)
	}
}

func TestWriter_ADoubleOfPoisonIsTried(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	got := put(t, w, delivery(poison("a"), response("a"), response("a")))
	if want := []store.Result{store.Quarantined, store.Stored, store.Duplicate}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if n := query[int](t, storetest.Connect(t, url), "SELECT count(*)::int FROM flow_responses"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

func TestWriter_Quarantine(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	d := delivery(response("a"))
	d.Event, d.IdempotencyKey = "whatsapp.message.received", "k-1"
	d.Rejects = []flowparse.Reject{
		{Reason: flowparse.ReasonUnknownShape, Detail: "no message", Body: []byte("\x00\xff{")},
		{Reason: flowparse.ReasonNotJSON, Detail: "", Body: []byte("x")},
		{Reason: flowparse.ReasonNotJSON, Detail: "", Body: []byte("x")},
	}
	want := []store.Result{store.Stored, store.Quarantined, store.Quarantined, store.Quarantined}
	if got := put(t, w, d); !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	want[0] = store.Duplicate
	if got := put(t, w, d); !slices.Equal(got, want) { // a retry makes no second record
		t.Fatalf("%v, want %v", got, want)
	}
	conn := storetest.Connect(t, url)
	if n := query[int](t, conn, "SELECT count(*)::int FROM quarantine"); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
	rows, _ := conn.Query(t.Context(), "SELECT source, reason, detail, headers::text, body, received_at FROM quarantine WHERE reason = 'unknown_shape'")
	got, err := pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
	if err != nil {
		t.Fatal(err)
	}
	got["received_at"] = got["received_at"].(time.Time).UTC()
	if diff := cmp.Diff(map[string]any{
		"source": "kapso", "reason": "unknown_shape", "detail": "no message",
		"headers": `{"x-webhook-event": "whatsapp.message.received", "x-idempotency-key": "k-1"}`,
		"body":    []byte("\x00\xff{"), "received_at": d.ReceivedAt,
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWriter_TwoReplicasShareKeysWithoutDeadlock(t *testing.T) {
	t.Parallel()
	url := postgres.New(t)
	const replicas, rounds, keys = 3, 30, 200
	var stored [replicas]int
	var wg sync.WaitGroup
	for replica := range replicas {
		w := store.NewWriter(open(t, url), 2, 10000, zerolog.Nop())
		t.Cleanup(w.Close)
		wg.Go(func() {
			for round := range rounds {
				list := numbered(fmt.Sprint(round), keys)
				rand.Shuffle(keys, func(i, j int) { list[i], list[j] = list[j], list[i] })
				results, err := w.Put(t.Context(), delivery(list...))
				if err != nil {
					t.Errorf("replica %d: %v", replica, err)
					return
				}
				for _, r := range results {
					if r == store.Stored {
						stored[replica]++
					}
				}
			}
		})
	}
	wg.Wait()
	if got := stored[0] + stored[1] + stored[2]; got != rounds*keys {
		t.Errorf("%d reported as stored, want %d", got, rounds*keys)
	}
	if n := query[int](t, storetest.Connect(t, url), "SELECT count(*)::int FROM flow_responses"); n != rounds*keys {
		t.Errorf("%d rows, want %d", n, rounds*keys)
	}
}

func TestWriter_TheQueueIsBounded(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 10)
	conn := storetest.Connect(t, url)
	release := lockTable(t, conn)

	var wg sync.WaitGroup
	wg.Go(func() { _, _ = w.Put(t.Context(), delivery(response("in-hand"))) }) // held by the lock
	storetest.Eventually(t, "the worker has taken the first", watchLocks(t, url))

	big := delivery(numbered("big", 25)...) // larger than the bound: taken, since the queue is empty
	wg.Go(func() {
		if _, err := w.Put(t.Context(), big); err != nil {
			t.Errorf("a large delivery on an empty queue: %v", err)
		}
	})
	storetest.Eventually(t, "the large delivery is queued", func() bool { return w.Queued() == 25 })

	_, err := w.Put(t.Context(), delivery(response("one too many")))
	if !errors.Is(err, store.ErrQueueFull) || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("full queue: %v", err)
	}
	release()
	wg.Wait()
	if n := query[int](t, conn, "SELECT count(*)::int FROM flow_responses"); n != 26 {
		t.Errorf("%d rows, want 26", n)
	}
}

func TestWriter_AClientThatGivesUpUndoesNothing(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	conn := storetest.Connect(t, url)
	release := lockTable(t, conn)
	ctx, hangUp := context.WithCancel(t.Context())
	neighbour := make(chan error, 1)
	go func() {
		_, err := w.Put(t.Context(), delivery(response("neighbour")))
		neighbour <- err
	}()
	gone := make(chan error, 1)
	go func() {
		_, err := w.Put(ctx, delivery(response("gone")))
		gone <- err
	}()
	storetest.Eventually(t, "the batch is under way", watchLocks(t, url))
	hangUp()
	if err := <-gone; !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("the one that gave up: %v", err)
	}
	release()
	if err := <-neighbour; err != nil {
		t.Errorf("its neighbour: %v", err)
	}
	if n := query[int](t, conn, "SELECT count(*)::int FROM flow_responses WHERE message_id = 'neighbour'"); n != 1 {
		t.Errorf("%d rows of its neighbour", n)
	}
}

func TestWriter_ALockedTableEndsInTimeAndLeavesNoBackend(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 2, 100)
	conn := storetest.Connect(t, url)
	release := lockTable(t, conn)
	start := time.Now()
	results, err := w.Put(t.Context(), delivery(response("a")))
	if !errors.Is(err, store.ErrUnavailable) || results[0] != store.Unknown {
		t.Errorf("results %v, error %v", results, err)
	}
	if took := time.Since(start); took > 6*time.Second {
		t.Errorf("gave up after %v", took)
	}
	if watchLocks(t, url)() {
		t.Error("a backend still waits for the lock")
	}
	release()
	if got := put(t, w, delivery(response("a"))); got[0] != store.Stored {
		t.Errorf("afterwards: %v", got)
	}
}

func TestWriter_CloseDoesNotWaitForWhatWasGivenUp(t *testing.T) {
	t.Parallel()
	url := postgres.New(t)
	w := store.NewWriter(open(t, url), 1, 5000, zerolog.Nop())
	conn := storetest.Connect(t, url)
	release := lockTable(t, conn)
	defer release()
	ctx, giveUp := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = w.Put(ctx, delivery(response("in-hand"))) })
	storetest.Eventually(t, "a batch is under way", watchLocks(t, url))
	for i := range 4 { // at one lock timeout each, more than Close may take
		wg.Go(func() { _, _ = w.Put(ctx, delivery(numbered(fmt.Sprint(i), 500)...)) })
	}
	storetest.Eventually(t, "all are queued", func() bool { return w.Queued() == 2000 })
	giveUp()
	wg.Wait()
	start := time.Now()
	w.Close()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
}

func TestWriter_PutAfterClose(t *testing.T) {
	t.Parallel()
	url := postgres.New(t)
	w := store.NewWriter(open(t, url), 2, 100, zerolog.Nop())
	w.Close()
	if _, err := w.Put(t.Context(), delivery(response("a"))); !errors.Is(err, store.ErrClosed) || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

func TestWriter_CloseCommitsWhatIsQueued(t *testing.T) {
	t.Parallel()
	url := postgres.New(t)
	w := store.NewWriter(open(t, url), 1, 1000, zerolog.Nop())
	conn := storetest.Connect(t, url)
	release := lockTable(t, conn)
	var wg sync.WaitGroup
	send := func(id int) {
		wg.Go(func() {
			if _, err := w.Put(t.Context(), delivery(response(fmt.Sprint(id)))); err != nil {
				t.Errorf("put %d: %v", id, err)
			}
		})
	}
	send(0)
	storetest.Eventually(t, "a batch is under way", watchLocks(t, url))
	for i := range 49 {
		send(i + 1)
	}
	storetest.Eventually(t, "the others are queued", func() bool { return w.Queued() == 49 })
	closed := make(chan struct{})
	go func() { w.Close(); close(closed) }()
	release()
	wg.Wait()
	<-closed
	if n := query[int](t, conn, "SELECT count(*)::int FROM flow_responses"); n != 50 {
		t.Errorf("%d rows, want 50", n)
	}
}

func TestWriter_SessionsThatDiedAreReplaced(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 2, 100)
	conn := storetest.Connect(t, url)
	for i := range 10 {
		put(t, w, delivery(response(fmt.Sprint(i))))
		if _, err := conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
			t.Fatal(err)
		}
	}
	if n := query[int](t, conn, "SELECT count(*)::int FROM flow_responses"); n != 10 {
		t.Errorf("%d rows, want 10", n)
	}
}

func TestWriter_LongTokensAndIDs(t *testing.T) {
	t.Parallel()
	w, url := newWriter(t, 1, 100)
	var random strings.Builder // repeats would compress, and so fit an index after all
	for random.Len() < 12000 {
		fmt.Fprintf(&random, "%x", rand.Uint64())
	}
	body := fmt.Sprintf(`{"message":{"id":%q,"from":"15551234567","type":"interactive","interactive":{"type":"nfm_reply",
		"nfm_reply":{"name":"flow","response_json":"{\"flow_token\":\"%s\"}"}}}}`, random.String()[:6000], random.String())
	d := flowparse.New(nil).Parse(flowparse.Input{Body: []byte(body), ReceivedAt: time.Now()})
	d.Responses = append(d.Responses, response("neighbour"))
	got := put(t, w, &d)
	if want := []store.Result{store.Stored, store.Stored}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	n := query[int](t, storetest.Connect(t, url), "SELECT count(*)::int FROM flow_responses WHERE flow_token = $1 AND message_id LIKE 'sha256:%'", random.String())
	if n != 1 {
		t.Errorf("%d rows with the long token, want 1", n)
	}
}

// lockTable keeps everybody else out of flow_responses until it is released.
func lockTable(t *testing.T, conn *pgx.Conn) (release func()) {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE flow_responses"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// watchLocks returns a function that says whether some session of the database
// waits for a lock.
func watchLocks(t *testing.T, url string) (blocked func() bool) {
	t.Helper()
	conn := storetest.Connect(t, url)
	return func() bool {
		t.Helper()
		return query[bool](t, conn, `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock')`)
	}
}
