package webhook_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/simulate"
	"flowkeep/internal/webhook"
)

// Forgers that hold as many open bodies as they can do not keep a signed
// delivery out: the oldest of them give way, and are told to come back.
func TestIntake_ForgersStarveNobody(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	cfg.UnverifiedBytes = 256 << 10
	s := start(t, cfg, &fakeSink{})
	forged := strings.Repeat("0", 64)
	var forgers []net.Conn
	for range 40 { // 40 × 16 KiB of buffer would be more than the share
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "POST /webhooks/kapso HTTP/1.1\r\nHost: x\r\nX-Webhook-Signature: %s\r\nContent-Length: 60000\r\n\r\n%s",
			forged, strings.Repeat("x", 10000))
		forgers = append(forgers, conn)
	}
	body := []byte(`{"message":{"id":"m1","type":"text"}}`)
	for range 20 {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+kapsoPath, strings.NewReader(string(body)))
		req.Header.Set(kapsoHeader, simulate.Sign(kapsoSecret, body))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("a signed delivery got %d", resp.StatusCode)
		}
	}
	// The first forger was cut off long before its time.
	if err := forgers[0].SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(io.LimitReader(forgers[0], 12))
	if err != nil || string(answer) != "HTTP/1.1 503" {
		t.Errorf("the oldest forger got %q, %v", answer, err)
	}
}

// A crowd of unverified bytes takes nothing from the share of verified ones,
// and verified deliveries beyond their share are refused, not kept in memory.
func TestIntake_VerifiedBytesAreBounded(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	cfg.MaxBodyBytes = 50 << 10 // the share is never smaller
	hold, inside := make(chan struct{}), make(chan struct{}, 10)
	s := start(t, cfg, &fakeSink{KeepFunc: func(context.Context, *flowparse.Delivery) (webhook.Kept, error) {
		inside <- struct{}{}
		<-hold
		return webhook.Kept{Stored: 1}, nil
	}})
	body := []byte(`{"message":{"id":"m1","interactive":{"type":"nfm_reply","nfm_reply":{"response_json":"{\"a\":\"` +
		strings.Repeat("x", 45<<10) + `\"}"}}}}`)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	send := func() int {
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+kapsoPath, strings.NewReader(string(body)))
		req.Header.Set(kapsoHeader, simulate.Sign(kapsoSecret, body))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return 0
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		return resp.StatusCode
	}
	first := make(chan int, 1)
	go func() { first <- send() }()
	<-inside
	if got := send(); got != http.StatusServiceUnavailable {
		t.Errorf("beyond the share: %d", got)
	}
	close(hold)
	if got := <-first; got != http.StatusOK {
		t.Errorf("inside the share: %d", got)
	}
	if got := send(); got != http.StatusOK {
		t.Errorf("after room was made: %d", got)
	}
}
