package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"flowkeep/internal/kapso/kapsotest"
	"flowkeep/internal/simulate"
)

// runBackfill is "flowkeep backfill" against a Kapso of the test's.
func runBackfill(ctx context.Context, t *testing.T, url string, k *kapsotest.Server, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := program{
		environ: []string{"DATABASE_URL=" + url, "FLOWKEEP_DATA_DIR=" + t.TempDir(), "KAPSO_API_KEY=" + kapsotest.Key, "KAPSO_BASE_URL=" + k.URL()},
		stdout:  &out, stderr: &errs,
	}
	code = run(ctx, p, append([]string{"backfill"}, args...))
	return code, out.String(), errs.String()
}

// A number of ten thousand answers loses a thousand in every way that there is.
// Kapso's log and history have them between them, with rate limits, and grow
// while they are read. Afterwards the table equals one that lost none.
func TestBackfill_FetchesEverythingThatNeverArrived(t *testing.T) {
	t.Parallel()
	k := kapsotest.New(t)
	whole, lossy := testConfig(t), testConfig(t)
	sent := playTraffic(t, k, startApp(t, whole).URL(), startApp(t, lossy).URL())
	if n := query[int](t, connect(t, lossy.DatabaseURL), "SELECT count(*)::int FROM flow_responses"); n != 9000 {
		t.Fatalf("%d answers arrived, and not 9000", n)
	}

	// The first run is interrupted, the second meets every hindrance.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	k.Break(func(n int, _ *http.Request) int {
		if n == 8 {
			cancel()
		}
		return 0
	})
	window := []string{"--since", "2026-01-05T00:00:00Z", "--until", "2026-01-06T00:00:00Z"}
	code, stdout, stderr := runBackfill(ctx, t, lossy.DatabaseURL, k, window...)
	if code != 1 || !strings.Contains(stderr, "interrupted") || !strings.Contains(stdout, "together") {
		t.Errorf("interrupted: exit code %d\n%s%s", code, stdout, stderr)
	}
	k.Break(func(n int, _ *http.Request) int {
		return map[int]int{20: http.StatusTooManyRequests, 60: http.StatusServiceUnavailable, 110: http.StatusTooManyRequests}[n]
	})
	growing(k)
	if code, stdout, stderr = runBackfill(t.Context(), t, lossy.DatabaseURL, k, window...); code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	compareTables(t, whole.DatabaseURL, lossy.DatabaseURL, sent)

	k.Break(nil)
	_, stdout, _ = runBackfill(t.Context(), t, lossy.DatabaseURL, k, "--since", "2026-01-05T10:03:00Z", "--json")
	var again struct {
		Log     struct{ Added, Unreadable int } `json:"delivery_log"`
		History struct{ Seen, Added int }       `json:"message_history"`
	}
	if err := json.Unmarshal([]byte(stdout), &again); err != nil || again.Log.Added+again.History.Added != 0 || again.Log.Unreadable == 0 || again.History.Seen < 500 {
		t.Errorf("once more: %v, %s", err, stdout)
	}
}

// growing puts something at the front of both lists after each page, 100 times.
func growing(k *kapsotest.Server) {
	var n atomic.Int32
	k.Grow(func() {
		if i := n.Add(1); i <= 100 {
			at := time.Date(2026, 1, 5, 12, 0, int(i), 0, time.UTC)
			for _, number := range k.Numbers() {
				k.AddLog(number, map[string]any{"source": "webhook_delivery", "timestamp": at, "event": "whatsapp.message.sent"})
				k.AddMessage(number, at, fmt.Appendf(nil, `{"id":"wamid.text-%s-%d","type":"text","text":{"body":"hi"}}`, number, i))
			}
		}
	})
}

// lost says how a delivery never arrived.
type lost int

const (
	arrived     lost = iota
	wrongSecret      // refused; the log has its bytes
	hostDead         // no answer; the log has what was sent, as an object
	paused           // never sent: only the history has it
	vanished         // a batch that was never sent; likewise
	cutOff           // no answer, and the log has half of its bytes
	lostWays    = 5
)

// answerSent is where an answer can be found again.
type answerSent struct {
	lost     lost
	fallback bool // the history has no response_json of it
}

// playTraffic sends 10,000 answers to both servers, of which 1,000 never reach
// the second, and gives Kapso its memory of them. It returns them by wamid.
func playTraffic(t *testing.T, k *kapsotest.Server, wholeURL, lossyURL string) map[string]answerSent {
	t.Helper()
	sent := map[string]answerSent{}
	jobs := make(chan func() error)
	var posters sync.WaitGroup
	for range 4 {
		posters.Go(func() {
			for job := range jobs {
				if err := job(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	numbers := map[string]bool{}
	for _, part := range []struct{ seed, deliveries, batch int }{{1, 500, 1}, {2, 190, 50}} {
		traffic, err := simulate.NewTraffic(int64(part.seed), part.batch, mixOf(t, "responses"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range part.deliveries {
			s := traffic.Delivery(int64(i))
			how := arrived
			if i%10 == 0 {
				how = lost(1 + i/10%lostWays)
			}
			jobs <- func() error { return postSent(wholeURL, testSecret, &s, http.StatusOK) }
			switch how {
			case arrived:
				jobs <- func() error { return postSent(lossyURL, testSecret, &s, http.StatusOK) }
			case wrongSecret:
				jobs <- func() error { return postSent(lossyURL, "wrong", &s, http.StatusUnauthorized) }
			}
			number := remember(t, k, &s, how, sent)
			if !numbers[number] {
				numbers[number] = true
				k.AddNumber(number)
			}
		}
	}
	// What Kapso's log holds besides: another event, no body, odd fields.
	first := k.Numbers()[0]
	k.AddLog(first, map[string]any{"source": "webhook_delivery", "event": "whatsapp.message.read", "payload": map[string]any{"request_body": "{}"}})
	k.AddLog(first, map[string]any{"source": "webhook_delivery", "event": "whatsapp.message.received", "payload": nil})
	k.AddLog(first, map[string]any{"source": "webhook_delivery", "event": 7, "timestamp": 12, "phone_number_id": 3.5, "payload": map[string]any{"request_body": nil}})
	close(jobs)
	posters.Wait()
	return sent
}

// postSent posts a delivery and demands the status.
func postSent(url, secret string, s *simulate.Sent, want int) error {
	req, err := http.NewRequest(http.MethodPost, url+"/webhooks/kapso", bytes.NewReader(s.Body))
	if err != nil {
		return err
	}
	req.Header = s.Header.Clone()
	req.Header.Set("X-Webhook-Signature", simulate.Sign(secret, s.Body))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		return fmt.Errorf("status %d, want %d", resp.StatusCode, want)
	}
	return nil
}

// payload is one item as the webhook gets it.
type payload struct {
	Message       map[string]json.RawMessage `json:"message"`
	Conversation  map[string]json.RawMessage `json:"conversation"`
	PhoneNumberID string                     `json:"phone_number_id"`
}

// remember gives Kapso a delivery's messages and, unless it was never sent, its
// entry in the log. It returns the number.
func remember(t *testing.T, k *kapsotest.Server, s *simulate.Sent, how lost, sent map[string]answerSent) (number string) {
	t.Helper()
	at := time.Date(2026, 1, 5, 10, 0, int(s.Index), 0, time.UTC)
	for i := range s.Items {
		var p payload
		if err := json.Unmarshal(s.Items[i].Raw, &p); err != nil {
			t.Fatal(err)
		}
		number = p.PhoneNumberID
		fallback := len(sent)%3 == 0
		k.AddMessage(number, at, historyMessage(t, &p, fallback))
		sent[s.Items[i].MessageID] = answerSent{how, fallback}
	}
	event := map[string]any{"id": fmt.Sprint("evt-", len(sent)), "source": "webhook_delivery", "occurred_at": at, "event": "whatsapp.message.received"}
	if s.Index%2 == 0 {
		event["phone_number_id"] = number
	}
	var body any = string(s.Body)
	switch how {
	case paused, vanished:
		return number
	case hostDead:
		body = json.RawMessage(s.Body)
	case cutOff:
		body = string(s.Body[:len(s.Body)/2])
	}
	event["payload"] = map[string]any{"request_body": body}
	k.AddLog(number, event)
	return number
}

// historyMessage is an item's message as the history shows it: with those of
// Kapso's fields that were asked for.
func historyMessage(t *testing.T, p *payload, fallback bool) json.RawMessage {
	t.Helper()
	var kapso map[string]json.RawMessage
	if err := json.Unmarshal(p.Message["kapso"], &kapso); err != nil {
		t.Fatal(err)
	}
	asked := map[string]json.RawMessage{}
	for _, name := range []string{"flow_response", "flow_token", "flow_name", "contact_name", "whatsapp_conversation_id"} {
		asked[name] = kapso[name]
	}
	message := map[string]any{"kapso": asked, "from_user_id": p.Conversation["business_scoped_user_id"]}
	for _, name := range []string{"id", "from", "timestamp", "type", "context", "interactive"} {
		message[name] = p.Message[name]
	}
	if fallback {
		message["interactive"] = json.RawMessage(`{"type":"nfm_reply","nfm_reply":{"name":"flow","body":"Sent"}}`)
	}
	token, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// storedAnswer is a row without its times of arrival, which cannot be equal.
type storedAnswer struct {
	MessageID, TokenKind                                              string
	FlowToken, FlowID, FlowIDSource, FlowName                         *string
	Response, ResponseStatus                                          string
	PhoneNumberID, WaID, UserID, ContactName, ConversationID, Context *string
	Source                                                            string
	IdempotencyKey                                                    *string
	Raw                                                               string
	SentAt                                                            *time.Time
}

func storedAnswers(t *testing.T, url string) []storedAnswer {
	t.Helper()
	rows, _ := connect(t, url).Query(t.Context(), `
		SELECT message_id, token_kind, flow_token, flow_id, flow_id_source, flow_name, response::text, response_status,
			phone_number_id, wa_id, user_id, contact_name, conversation_id, context_message_id, source, idempotency_key,
			encode(raw, 'escape'), sent_at
		FROM flow_responses ORDER BY message_id`)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[storedAnswer])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// compareTables demands that every column is equal, but for source and
// idempotency_key of what was fetched (no log has the delivery's headers), its
// raw bytes where the log had none as they were sent, and its status where the
// history had no response_json.
func compareTables(t *testing.T, wholeURL, lossyURL string, sent map[string]answerSent) {
	t.Helper()
	whole, lossy := storedAnswers(t, wholeURL), storedAnswers(t, lossyURL)
	if len(whole) != 10_000 || len(lossy) != 10_000 {
		t.Fatalf("%d and %d rows", len(whole), len(lossy))
	}
	for i := range whole {
		want, got, s := whole[i], lossy[i], sent[whole[i].MessageID]
		if s.lost != arrived {
			want.Source, want.IdempotencyKey = "backfill", nil
			if s.lost != wrongSecret {
				want.Raw = got.Raw
			}
			if s.fallback && s.lost != wrongSecret && s.lost != hostDead {
				want.ResponseStatus = "fallback"
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("lost in way %d: %s", s.lost, diff)
		}
	}
}
