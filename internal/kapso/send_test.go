package kapso_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"flowkeep/internal/kapso"
	"flowkeep/internal/simulate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testKey = "key-0123456789abcdef"

// fake is a simulated Kapso that listens on this machine.
type fake struct {
	*simulate.Kapso
	client *kapso.Client
	mu     sync.Mutex
	sends  []simulate.KapsoSend
}

func startFake(t *testing.T, fail ...simulate.Failure) *fake {
	t.Helper()
	f := &fake{}
	var err error
	f.Kapso, err = simulate.NewKapso(simulate.KapsoConfig{Key: testKey, Fail: fail, OnSend: func(s simulate.KapsoSend) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.sends = append(f.sends, s)
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.client = clientOf(t, serve(t, f.Kapso)+simulate.KapsoPath)
	return f
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

func clientOf(t *testing.T, address string) *kapso.Client {
	t.Helper()
	client, err := kapso.New(address, testKey)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func bookingRequest(t *testing.T) kapso.Request {
	t.Helper()
	r, err := request(t, "flow", flow(``, `,"flowToken":"user_123_booking"`))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSend_FlowAndTemplate(t *testing.T) {
	t.Parallel()
	f := startFake(t)
	wamid, err := f.client.Send(t.Context(), bookingRequest(t))
	if err != nil || len(f.sends) != 1 || wamid != f.sends[0].Wamid || f.sends[0].FlowToken != "user_123_booking" || f.sends[0].To != "15551234567" {
		t.Fatalf("%q, %v, %+v", wamid, err, f.sends)
	}
	template, err := request(t, "template", `{"phoneNumberId":"1","to":"+1 555-123-4567","template":{"name":"booking_flow","language":{"code":"en_US"}}}`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.client.Send(t.Context(), template)
	if refusal, ok := errors.AsType[*kapso.Error](err); !ok || refusal.Code != 132001 || refusal.Temporary() {
		t.Fatalf("a template that does not exist: %v", err)
	}
	components, err := kapso.FlowTemplate("Ready?", kapso.Button{Text: "Book now", FlowID: "77", FlowAction: "navigate", NavigateScreen: "BOOKING"})
	if err != nil {
		t.Fatal(err)
	}
	create, err := kapso.NewTemplate{BusinessAccountID: "5", Name: "booking_flow", Language: "en_US", Category: "UTILITY", Components: components}.Request()
	if err != nil {
		t.Fatal(err)
	}
	if created, err := f.client.CreateTemplate(t.Context(), create); err != nil || created.Status != "APPROVED" || created.ID == "" || created.Category != "UTILITY" {
		t.Fatalf("%+v, %v", created, err)
	}
	if _, err = f.client.Send(t.Context(), template); err != nil || len(f.sends) != 2 || f.sends[1].FlowToken != "77" || f.sends[1].Template != "booking_flow" {
		t.Fatalf("%v, %+v", err, f.sends)
	}
}

// How each documented failure ends: whether a retry helps, whether the message
// may have gone out, and how often the client sent.
func TestSend_Failures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fail               simulate.Failure
		text               string
		status, code       int
		temporary, inDoubt bool
		accepted           int // with a failure at every call
	}{
		{fail: simulate.FailUnauthorized, status: 401, text: "status 401: Invalid API key (check KAPSO_API_KEY)"},
		{fail: simulate.FailNoCredits, status: 402, text: "no credits left"},
		{fail: simulate.FailNotFound, status: 404, text: "check the phone number id"},
		{fail: simulate.FailInFlight, status: 409, temporary: true, text: "another send is in flight"},
		{fail: simulate.FailWindow, status: 422, code: 131047, text: "More than 24 hours have passed since the recipient last replied to the sender number. (the person wrote"},
		{fail: simulate.FailServer, status: 500, code: 131000, temporary: true, inDoubt: true, text: "Something went wrong"},
		{fail: simulate.FailGateway, status: 502, temporary: true, inDoubt: true, text: "status 502"},
		{fail: simulate.FailOverload, status: 503, temporary: true, inDoubt: true, text: "status 503: Service unavailable"},
	} {
		t.Run(string(c.fail), func(t *testing.T) {
			t.Parallel()
			f := startFake(t, c.fail)
			_, err := f.client.Send(t.Context(), bookingRequest(t))
			got, ok := errors.AsType[*kapso.Error](err)
			if !ok || got.Status != c.status || got.Code != c.code || got.Temporary() != c.temporary || errors.Is(err, kapso.ErrInDoubt) != c.inDoubt ||
				!strings.Contains(err.Error(), c.text) || c.inDoubt && strings.Contains(err.Error(), "try again") {
				t.Errorf("%v", err)
			}
			if r := f.Report(); r.Refused != 1 || r.Messages != 0 {
				t.Errorf("sent more than once: %+v", r)
			}
		})
	}
}

func TestSend_WaitsForRetryAfter(t *testing.T) {
	t.Parallel()
	f := startFake(t, simulate.FailThrottled)
	start := time.Now()
	if wamid, err := f.client.Send(t.Context(), bookingRequest(t)); err != nil || wamid == "" {
		t.Fatal(err)
	}
	if took := time.Since(start); took < time.Second || f.Report().Messages != 1 {
		t.Errorf("after %v: %+v", took, f.Report())
	}
}

// Throttled for longer than anybody waits: the error says how long.
func TestSend_LeavesALongRetryAfterToTheCaller(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"3600": time.Hour, "4294967296": math.MaxInt32 * time.Second, "99999999999999999999": math.MaxInt32 * time.Second,
	} {
		var calls atomic.Int32
		client := clientOf(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		})))
		_, err := client.Send(t.Context(), bookingRequest(t))
		got, ok := errors.AsType[*kapso.Error](err)
		if !ok || got.RetryAfter != want || !got.Temporary() || errors.Is(err, kapso.ErrInDoubt) || calls.Load() != 1 {
			t.Errorf("%s: %v after %d calls", header, err, calls.Load())
		}
	}
}

func TestSend_GivesUpAfterThreeAttempts(t *testing.T) {
	t.Parallel()
	f := startFake(t, simulate.FailThrottled, simulate.FailThrottled, simulate.FailThrottled)
	_, err := f.client.Send(t.Context(), bookingRequest(t))
	if got, ok := errors.AsType[*kapso.Error](err); !ok || got.Status != 429 || got.Code != 130429 || errors.Is(err, kapso.ErrInDoubt) || f.Report().Refused != 3 {
		t.Errorf("%v, %+v", err, f.Report())
	}
}

// The message was accepted, and the connection cut before the answer.
func TestSend_NeverTwiceAfterACut(t *testing.T) {
	t.Parallel()
	f := startFake(t, simulate.FailNot, simulate.FailCut)
	if _, err := f.client.Send(t.Context(), bookingRequest(t)); err != nil { // so that the connection is an old one
		t.Fatal(err)
	}
	_, err := f.client.Send(t.Context(), bookingRequest(t))
	if !errors.Is(err, kapso.ErrInDoubt) || errors.Is(err, kapso.ErrUnreachable) || f.Report().Messages != 2 {
		t.Errorf("%v, %+v", err, f.Report())
	}
}

func TestSend_InDoubtWhenTheCallerLeaves(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	client := clientOf(t, serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does a server notice that the client left
		cancel()
		<-r.Context().Done()
	})))
	if _, err := client.Send(ctx, bookingRequest(t)); !errors.Is(err, kapso.ErrInDoubt) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestSend_NothingLeftThisMachine(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(nil)
	server.Close()
	client := clientOf(t, server.URL)
	if _, err := client.Send(t.Context(), bookingRequest(t)); !errors.Is(err, kapso.ErrUnreachable) || errors.Is(err, kapso.ErrInDoubt) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Send(ctx, bookingRequest(t)); !errors.Is(err, kapso.ErrUnreachable) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	none, err := kapso.New("", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.Send(t.Context(), bookingRequest(t)); !errors.Is(err, kapso.ErrNoKey) {
		t.Error(err)
	}
}

// Accepted, but the answer is of no use: not to be repeated either.
func TestSend_UnreadableAnswers(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty": "", "not JSON": "<html>", "no message": `{"messages":[]}`, "no id": `{"messages":[{}]}`,
		"long id": fmt.Sprintf(`{"messages":[{"id":%q}]}`, strings.Repeat("x", 513)), "endless": `{"x":"` + strings.Repeat("x", 2<<20),
	} {
		client := clientOf(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })))
		if _, err := client.Send(t.Context(), bookingRequest(t)); !errors.Is(err, kapso.ErrInDoubt) || len(err.Error()) > 500 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
