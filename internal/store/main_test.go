package store_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store"
	"flowkeep/internal/store/storetest"
)

var postgres *storetest.Server

func TestMain(m *testing.M) {
	os.Exit(storetest.Run(m, func(s *storetest.Server) { postgres = s }))
}

// open returns a DB on url that is closed after the test.
func open(t *testing.T, url string) *store.DB {
	t.Helper()
	db, err := store.Open(url, 4, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// newWriter returns a Writer on a fresh database, and the database's address.
func newWriter(t *testing.T, workers, queueRows int) (*store.Writer, string) {
	t.Helper()
	url := postgres.New(t)
	w := store.NewWriter(open(t, url), workers, queueRows, zerolog.Nop())
	t.Cleanup(w.Close)
	return w, url
}

// query returns the single value that sql selects.
func query[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// put hands d to w and fails the test on an error.
func put(t *testing.T, w *store.Writer, d *flowparse.Delivery) []store.Result {
	t.Helper()
	results, err := w.Put(t.Context(), d)
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	return results
}

// response returns a plain response with the given id.
func response(id string) flowparse.Response {
	token := "1197715005513101"
	return flowparse.Response{
		MessageID: id, FlowToken: &token, TokenKind: flowparse.TokenFlowID,
		FlowID: token, FlowIDSource: flowparse.FlowFromTokenShape, FlowName: "flow",
		Answers: []byte(`{"a": 1}`), Status: flowparse.StatusOK, Raw: []byte(`{"id":"` + id + `"}`),
	}
}

// poison returns a response that Postgres refuses: its answers are not JSON.
func poison(id string) flowparse.Response {
	r := response(id)
	r.Answers = []byte(`{"a": "\ud800"}`)
	return r
}

func delivery(responses ...flowparse.Response) *flowparse.Delivery {
	return &flowparse.Delivery{
		Source: flowparse.SourceKapso, ReceivedAt: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Responses: responses,
	}
}

// numbered returns n responses with ids prefix-0000 and on.
func numbered(prefix string, n int) []flowparse.Response {
	list := make([]flowparse.Response, n)
	for i := range list {
		list[i] = response(fmt.Sprintf("%s-%04d", prefix, i))
	}
	return list
}
