package backfill_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/backfill"
	"flowkeep/internal/flowparse"
	"flowkeep/internal/kapso"
	"flowkeep/internal/kapso/kapsotest"
	"flowkeep/internal/store"
	"flowkeep/internal/store/flows"
	"flowkeep/internal/store/storetest"
)

var postgres *storetest.Server

func TestMain(m *testing.M) {
	os.Exit(storetest.Run(m, func(s *storetest.Server) { postgres = s }))
}

const number = "647015955153740"

// newReader returns a Reader of k into the database at url.
func newReader(t *testing.T, k *kapsotest.Server, url, key string) *backfill.Reader {
	t.Helper()
	client, err := kapso.New(k.URL(), key)
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(url, 4, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	writer := store.NewWriter(db, 1, 1000, zerolog.Nop())
	views, err := flows.Open(url, nil, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { writer.Close(); views.Close(); db.Close(); client.Close() })
	return &backfill.Reader{Kapso: client, Writer: writer, DB: db, Views: views, Parser: flowparse.New(nil)}
}

// answer is a message with a flow's answer, as the history shows it.
func answer(id string) []byte {
	return fmt.Appendf(nil, `{"id":%q,"from":"15550000001","timestamp":"%d","type":"interactive",
		"interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow"}},
		"kapso":{"flow_response":{"flow_token":"order-7","n":1},"flow_token":"order-7","contact_name":"Ana"}}`, id, time.Now().Unix())
}

func lastHour() kapso.Window {
	return kapso.Window{PhoneNumberID: number, Since: time.Now().Add(-time.Hour), Until: time.Now()}
}

// rows selects one text for each row.
func rows(t *testing.T, url, sql string) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	found, _ := conn.Query(t.Context(), sql)
	list, err := pgx.CollectRows(found, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A log that cannot be searched costs the posted bytes, not the answers.
func TestRead_WithoutALog(t *testing.T) {
	t.Parallel()
	k, url := kapsotest.New(t), postgres.New(t)
	k.HideLog()
	k.AddMessage(number, time.Now().Add(-time.Minute), answer("wamid.1"))
	report, err := newReader(t, k, url, kapsotest.Key).Read(t.Context(), lastHour(), func(backfill.Report) {})
	if err != nil || !errors.Is(report.LogFault, kapso.ErrNoLog) || report.Total() != (backfill.Count{Seen: 1, Added: 1}) {
		t.Fatalf("%v, %+v", err, report)
	}
	got := rows(t, url, "SELECT concat_ws(' ', message_id, source, response_status, flow_token, contact_name, phone_number_id) FROM flow_responses")
	if want := "wamid.1 backfill fallback order-7 Ana " + number; len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Whatever ails the log, the history is read.
func TestRead_WithABrokenLog(t *testing.T) {
	t.Parallel()
	k, url := kapsotest.New(t), postgres.New(t)
	k.Break(func(_ int, r *http.Request) int {
		if strings.HasSuffix(r.URL.Path, "/log_search") {
			return http.StatusFound
		}
		return 0
	})
	k.AddMessage(number, time.Now().Add(-time.Minute), answer("wamid.1"))
	report, err := newReader(t, k, url, kapsotest.Key).Read(t.Context(), lastHour(), func(backfill.Report) {})
	if err != nil || !errors.Is(report.LogFault, kapso.ErrNoLog) || report.Total() != (backfill.Count{Seen: 1, Added: 1}) {
		t.Errorf("%v, %+v", err, report)
	}
}

// An entry of the log can be anything; none costs the others.
func TestRead_OddEntries(t *testing.T) {
	t.Parallel()
	k, url := kapsotest.New(t), postgres.New(t)
	entry := func(body any) map[string]any {
		return map[string]any{"timestamp": time.Now().Add(-time.Minute), "event": "whatsapp.message.received", "payload": map[string]any{"request_body": body}}
	}
	single := func(id, of string) string { return fmt.Sprintf(`{"message":%s,"phone_number_id":%q}`, answer(id), of) }
	for _, event := range []any{
		entry(single("wamid.single", number)),
		entry(fmt.Sprintf(`{"type":"whatsapp.message.received","batch":true,"data":[%s,%s]}`, single("wamid.b1", number), single("wamid.b2", number))),
		entry(map[string]any{"message": map[string]any{"id": "wamid.text", "type": "text"}}),
		entry(single("wamid.of-another-number", "2")),
		entry(single("wamid.cut", number)[:70]), entry(""), entry(nil),
		map[string]any{"payload": nil},
		"no object", nil,
		map[string]any{"event": "whatsapp.message.sent", "payload": 7},
		map[string]any{"timestamp": time.Now().Add(-2 * time.Hour), "payload": map[string]any{"request_body": single("wamid.old", number)}},
	} {
		k.AddLog(number, event)
	}
	report, err := newReader(t, k, url, kapsotest.Key).Read(t.Context(), lastHour(), func(backfill.Report) {})
	// One is cut off; five have no body.
	if want := (backfill.Count{Seen: 3, Added: 3, Unreadable: 6}); err != nil || report.LogFault != nil || report.Log != want {
		t.Fatalf("%v, %+v", err, report)
	}
	if got := rows(t, url, "SELECT source || ' ' || reason FROM quarantine"); len(got) != 1 || got[0] != "backfill not_json" {
		t.Errorf("%q", got)
	}
}

// What was erased does not come back, though it has no time of its own, and what
// retention would delete is not fetched.
func TestRead_LeavesOutTheErasedAndTheOld(t *testing.T) {
	t.Parallel()
	k, url := kapsotest.New(t), postgres.New(t)
	cut := string(answer("wamid.cut"))[:120]
	timeless := strings.Replace(string(answer("wamid.timeless")), `"timestamp"`, `"when"`, 1)
	for _, body := range []string{cut, `{"message":` + timeless + `,"phone_number_id":"` + number + `"}`} {
		k.AddLog(number, map[string]any{"timestamp": time.Now().Add(-2 * time.Minute), "payload": map[string]any{"request_body": body}})
	}
	k.AddMessage(number, time.Now().Add(-time.Minute), json.RawMessage(timeless))
	k.AddLog(number, map[string]any{"timestamp": time.Now().Add(-50 * time.Minute), "payload": map[string]any{"request_body": `{"cut": 15559999999`}})
	r := newReader(t, k, url, kapsotest.Key)
	r.Keep = 30 * time.Minute
	first, err := r.Read(t.Context(), lastHour(), func(backfill.Report) {})
	if want := (backfill.Count{Seen: 1, Added: 1, Unreadable: 1}); err != nil || first.Log != want {
		t.Fatalf("%v, %+v", err, first)
	}
	if _, err := r.DB.ErasePerson(t.Context(), "15550000001"); err != nil {
		t.Fatal(err)
	}
	again, err := r.Read(t.Context(), lastHour(), func(backfill.Report) {})
	if total := again.Total(); err != nil || total.Added != 0 || total.Unreadable != 0 {
		t.Errorf("%v, %+v", err, again)
	}
	const left = "SELECT message_id FROM flow_responses UNION ALL SELECT reason FROM quarantine"
	if got := rows(t, url, left); len(got) != 0 {
		t.Errorf("%q came back", got)
	}
}

// Cursors that lead back end the run, as a failure: nobody knows what lies
// beyond.
func TestRead_NeverGoesInACircle(t *testing.T) {
	t.Parallel()
	k, url := kapsotest.New(t), postgres.New(t)
	for i := range 350 {
		k.AddMessage(number, time.Now().Add(-time.Minute), answer(fmt.Sprint("wamid.", i)))
	}
	k.Circle()
	report, err := newReader(t, k, url, kapsotest.Key).Read(t.Context(), lastHour(), func(backfill.Report) {})
	if !errors.Is(err, backfill.ErrCircle) || report.History.Added != 350 || k.Requests() > 20 {
		t.Errorf("%v after %d requests, %+v", err, k.Requests(), report)
	}
}

// By itself: two servers, one of which looks. The first run reaches back a day,
// and the next finds what the history shows later.
func TestWatch_AddsWhatWasMissed(t *testing.T) {
	t.Parallel()
	k, url := kapsotest.New(t), postgres.New(t)
	k.AddNumber(number)
	k.AddMessage(number, time.Now().Add(-20*time.Hour), answer("wamid.missed"))
	k.AddMessage(number, time.Now().Add(-time.Minute), answer("wamid.maybe-under-way"))
	var watches []*backfill.Watch
	for range 2 {
		w := backfill.NewWatch(newReader(t, k, url, kapsotest.Key), 200*time.Millisecond, func() bool { return true }, zerolog.Nop())
		watches = append(watches, w)
		runWatch(t, w)
	}
	storetest.Eventually(t, "both know of the first run", func() bool {
		return !watches[0].Status().CompleteUntil.IsZero() && !watches[1].Status().CompleteUntil.IsZero()
	})
	k.AddMessage(number, time.Now().Add(-30*time.Minute), answer("wamid.late"))
	stored := watchRows(t, url)
	storetest.Eventually(t, "what came late is added", func() bool { return stored() == "wamid.late,wamid.missed" })
	if s := watches[0].Status(); s.Fault != "" || s.LastRunAt.IsZero() || time.Since(s.CompleteUntil) > time.Hour {
		t.Errorf("%+v", s)
	}
}

// A wrong key is said in words that help, and a right answer later mends it.
func TestWatch_SaysWhatToDo(t *testing.T) {
	t.Parallel()
	k, url := kapsotest.New(t), postgres.New(t)
	k.AddNumber(number)
	w := backfill.NewWatch(newReader(t, k, url, "wrong"), 200*time.Millisecond, func() bool { return true }, zerolog.Nop())
	runWatch(t, w)
	storetest.Eventually(t, "the fault", func() bool { return w.Status().Fault == "Kapso refuses the API key: check KAPSO_API_KEY" })

	k.Break(func(_ int, r *http.Request) int {
		if r.Method == http.MethodGet && r.URL.Query().Has("since") {
			return http.StatusNotFound
		}
		return 0
	})
	other := backfill.NewWatch(newReader(t, k, url, kapsotest.Key), 200*time.Millisecond, func() bool { return true }, zerolog.Nop())
	runWatch(t, other)
	storetest.Eventually(t, "the number's fault", func() bool { return other.Status().Fault == "Kapso refuses it: status 404" })
	k.Break(nil)
	storetest.Eventually(t, "all is well", func() bool { return other.Status().Fault == "" && !other.Status().CompleteUntil.IsZero() })
}
