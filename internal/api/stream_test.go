package api_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"flowkeep/internal/store/storetest"
)

const (
	manyRows  = 30_000
	largeText = 1000 // bytes of each: more than the buffers on the way hold
)

// begin starts a stream and reads its first line.
func (s *service) begin(ctx context.Context, path string) *bufio.Reader {
	s.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := s.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	body := bufio.NewReader(resp.Body)
	if line, err := body.ReadString('\n'); err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%d %v %s", resp.StatusCode, err, line)
	}
	return body
}

// A stream takes longer than the server gives any other request.
func TestStream_MayTakeItsTime(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.store(manyRows, largeText)
	body := s.begin(t.Context(), "/api/v1/flows/"+flowID+"/responses.ndjson")
	slow := time.NewTimer(3 * s.Config.ReadTimeout)
	defer slow.Stop()
	lines := 1
	for {
		line, err := body.ReadString('\n')
		if err == io.EOF && line == "" {
			break
		}
		if err != nil {
			t.Fatalf("after %d lines: %v", lines, err)
		}
		if lines++; lines == manyRows/2 {
			<-slow.C
		}
	}
	if lines != manyRows {
		t.Errorf("%d lines", lines)
	}
}

func TestStream_AClientThatHangsUpFreesItsSession(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.store(manyRows, largeText)
	for _, format := range []string{"ndjson", "csv", "ndjson", "csv"} { // more often than there are places
		ctx, hangUp := context.WithCancel(t.Context())
		s.begin(ctx, "/api/v1/flows/"+flowID+"/responses."+format)
		hangUp()
		storetest.Eventually(t, "the session is free", func() bool { return s.readers() == 0 })
	}
	storetest.Eventually(t, "the place is free", func() bool {
		return s.get("/api/v1/flows/"+flowID+"/responses.csv?until=2026-01-02").StatusCode == http.StatusOK
	})
}

func TestStream_OnlySomeAtATime(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.store(manyRows, largeText)
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	for range 2 {
		s.begin(ctx, "/api/v1/flows/"+flowID+"/responses.ndjson")
	}
	if a := s.get("/api/v1/flows/" + flowID + "/responses.csv"); a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") != "10" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	if a := s.get("/api/v1/responses?limit=1"); a.StatusCode != http.StatusOK {
		t.Errorf("a page waits behind streams: %d", a.StatusCode)
	}
}

func TestStream_AClientThatNeverReadsIsCutOff(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.handler.SetStall(time.Second)
	s.store(manyRows, largeText)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /api/v1/flows/"+flowID+"/responses.csv HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+token+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "it was cut off", func() bool {
		return s.readers() == 0 && strings.Contains(s.logged(), `"level":"warn"`)
	})
	if !strings.Contains(s.logged(), "i/o timeout") {
		t.Error(s.logged())
	}
}

// Half a file must not pass for a whole one.
func TestStream_AnErrorInTheMiddleIsNoticed(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.store(manyRows, largeText)
	for _, format := range []string{"ndjson", "csv"} {
		body := s.begin(t.Context(), "/api/v1/flows/"+flowID+"/responses."+format)
		s.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'flowkeep reader'`)
		if n, err := io.Copy(io.Discard, body); err == nil {
			t.Errorf("%s: it ends well after %d bytes", format, n)
		}
	}
	storetest.Eventually(t, "a line in the log", func() bool {
		return strings.Count(s.logged(), `"level":"warn"`) == 2 && strings.Contains(s.logged(), "database unavailable")
	})
}
