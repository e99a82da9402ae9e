package webhook_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// unsized hides a body's length, so that it goes in chunks.
type unsized struct{ io.Reader }

func TestBody_Limit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		limit   int
		over    int // how much longer the body is
		chunked bool
		status  int
	}{
		{"at the limit", 5000, 0, false, 200},
		{"at the limit, in chunks", 5000, 0, true, 200},
		{"one over", 5000, 1, false, 413},
		{"one over, in chunks", 5000, 1, true, 413},
		{"far over", 5000, 400_000, false, 413},
		{"far over, in chunks", 5000, 400_000, true, 413},
		{"large", 3 << 20, -1, false, 200},
		{"large, in chunks", 3 << 20, -1, true, 200},
		{"large, one over", 3 << 20, 1, false, 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig()
			cfg.MaxBodyBytes = int64(c.limit)
			s := start(t, cfg, &fakeSink{})
			body := strings.Repeat("x", c.limit+c.over)
			var from io.Reader = strings.NewReader(body)
			if c.chunked {
				from = unsized{from}
			}
			a := s.send(t, http.MethodPost, kapsoPath, from, kapsoHeader, sign(kapsoSecret, body))
			if c.status != http.StatusOK {
				wantProblem(t, a, c.status)
				s.wantNothingTaken(t)
				return
			}
			if a.status != http.StatusOK {
				t.Fatalf("answer %d %s", a.status, a.body)
			}
			if got := s.sink.deliveries()[0].Rejects[0].Body; string(got) != body {
				t.Errorf("the Sink got %d bytes of %d", len(got), len(body))
			}
		})
	}
}

func TestBody_DeclaredTooLargeIsNotAwaited(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{})
	for _, length := range []int64{64<<10 + 1, 1 << 20, 1 << 50} {
		c := dial(t, s)
		c.write(t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%s: %064d\r\nContent-Length: %d\r\n\r\n", kapsoPath, kapsoHeader, 0, length))
		wantProblem(t, c.answer(t), http.StatusRequestEntityTooLarge)
	}
}

func TestBody_Encoding(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{})
	for _, encoding := range []string{"gzip", "GZIP", "br", "identity, gzip"} {
		wantProblem(t, s.deliver(t, response, "Content-Encoding", encoding), http.StatusUnsupportedMediaType)
	}
	s.wantNothingTaken(t)
	if a := s.deliver(t, response, "Content-Encoding", "Identity"); a.status != http.StatusOK {
		t.Errorf("answer %d %s", a.status, a.body)
	}
	for _, contentType := range []string{"application/json; charset=utf-8", "text/plain", "multipart/form-data", "?"} {
		if a := s.deliver(t, response, "Content-Type", contentType); a.status != http.StatusOK {
			t.Errorf("%s: answer %d %s", contentType, a.status, a.body)
		}
	}
}

func TestBody_TooSlow(t *testing.T) {
	t.Parallel()
	for name, framing := range map[string]string{
		"of known length": "Content-Length: 900\r\n\r\n",
		"in chunks":       "Transfer-Encoding: chunked\r\n\r\n384\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, testConfig(), &fakeSink{}, func(server *http.Server) { server.ReadTimeout = time.Second })
			c := dial(t, s)
			c.write(t, signedHeader()+framing+response[:100]) // and no more
			wantProblem(t, c.answer(t), http.StatusRequestTimeout)
			s.wantNothingTaken(t)
		})
	}
}

func TestBody_EndsEarly(t *testing.T) {
	t.Parallel()
	for name, rest := range map[string]string{
		"cut":              "Content-Length: 900\r\n\r\n" + response[:100],
		"chunk cut":        "Transfer-Encoding: chunked\r\n\r\n384\r\n" + response[:100],
		"last chunk lost":  fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(response), response),
		"no chunk":         "Transfer-Encoding: chunked\r\n\r\nnot a length\r\n",
		"negative chunk":   "Transfer-Encoding: chunked\r\n\r\n-1\r\n",
		"not a byte of it": "Content-Length: 900\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, testConfig(), &fakeSink{})
			c := dial(t, s)
			c.write(t, signedHeader()+rest)
			if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wantProblem(t, c.answer(t), http.StatusBadRequest)
			s.wantNothingTaken(t)
		})
	}
}

func TestBody_SenderHangsUp(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{})
	c := dial(t, s)
	c.write(t, signedHeader()+"Content-Length: 900\r\n\r\n"+response[:100])
	c.Close()
	if line := s.nextLine(t); line["level"] != "warn" || line["status"] != 400.0 {
		t.Errorf("logged as %v", line)
	}
	s.wantNothingTaken(t)
	if a := s.deliver(t, response); a.status != http.StatusOK {
		t.Errorf("the next one: %d %s", a.status, a.body)
	}
}
