package webhook_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rawConn is a sender that need not keep to HTTP.
type rawConn struct {
	net.Conn
	from *bufio.Reader
}

// dial connects to s until the test ends.
func dial(t *testing.T, s *service) *rawConn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &rawConn{c, bufio.NewReader(c)}
}

func (c *rawConn) write(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// answer reads the next answer, whichever status it has.
func (c *rawConn) answer(t *testing.T) answer {
	t.Helper()
	resp, err := http.ReadResponse(c.from, nil)
	if err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, resp)
}

// wantEnd checks that the server closes the connection without another word.
func (c *rawConn) wantEnd(t *testing.T) {
	t.Helper()
	if rest, err := io.ReadAll(c.from); err != nil || len(rest) > 0 {
		t.Errorf("after the answer came %q, %v", rest, err)
	}
}

// signedHeader is the head of a delivery of response up to its framing.
func signedHeader() string {
	return "POST " + kapsoPath + " HTTP/1.1\r\nHost: x\r\n" + kapsoHeader + ": " + sign(kapsoSecret, response) + "\r\n"
}

// request is a whole delivery with this signature header.
func request(signature, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s", kapsoPath, kapsoHeader, signature, len(body), body)
}

func TestExpectContinue(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{})
	rest := fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(response))

	stranger := dial(t, s)
	stranger.write(t, "POST "+kapsoPath+" HTTP/1.1\r\nHost: x\r\n"+kapsoHeader+": bad\r\n"+rest)
	wantProblem(t, stranger.answer(t), http.StatusUnauthorized)

	tooLarge := dial(t, s)
	tooLarge.write(t, signedHeader()+"Content-Length: 900000\r\nExpect: 100-continue\r\n\r\n")
	wantProblem(t, tooLarge.answer(t), http.StatusRequestEntityTooLarge)

	c := dial(t, s)
	c.write(t, signedHeader()+rest)
	const invitation = "HTTP/1.1 100 Continue\r\n\r\n"
	if got, err := c.from.Peek(len(invitation)); string(got) != invitation {
		t.Fatalf("%q, %v", got, err)
	}
	_, _ = c.from.Discard(len(invitation))
	c.write(t, response)
	if a := c.answer(t); a.status != http.StatusOK {
		t.Errorf("answer %d %s", a.status, a.body)
	}
}

func TestHTTP10(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{})
	c := dial(t, s)
	c.write(t, fmt.Sprintf("POST %s HTTP/1.0\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s", kapsoPath, kapsoHeader, sign(kapsoSecret, response), len(response), response))
	if a := c.answer(t); a.status != http.StatusOK || !strings.Contains(a.body, `"stored":1`) {
		t.Errorf("answer %d %s", a.status, a.body)
	}
	c.wantEnd(t)

	unsized := dial(t, s) // without a length there is no body
	unsized.write(t, fmt.Sprintf("POST %s HTTP/1.0\r\n%s: %s\r\n\r\n%s", kapsoPath, kapsoHeader, sign(kapsoSecret, response), response))
	wantProblem(t, unsized.answer(t), http.StatusUnauthorized)
}

func TestPipelined_AnsweredInOrder(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{})
	c := dial(t, s)
	good, wrong := request(sign(kapsoSecret, response), response), request(sign("guess", response), response)
	c.write(t, good+wrong+good)
	for i, status := range []int{200, 401, 200} {
		if a := c.answer(t); a.status != status {
			t.Errorf("answer %d: %d %s, want %d", i, a.status, a.body, status)
		}
	}
	if got := len(s.sink.deliveries()); got != 2 {
		t.Errorf("%d deliveries, want 2", got)
	}
}

// The body of a refused request is not read: what it holds must not pass for
// the next request.
func TestPipelined_RefusedBodyIsNoRequest(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{})
	c := dial(t, s)
	c.write(t, request("bad", request(sign(kapsoSecret, response), response)))
	wantProblem(t, c.answer(t), http.StatusUnauthorized)
	c.wantEnd(t)
	s.wantNothingTaken(t)
}

func TestConnection_IsUsedAgain(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{})
	c := dial(t, s)
	for range 3 {
		c.write(t, request(sign(kapsoSecret, response), response))
		if a := c.answer(t); a.status != http.StatusOK {
			t.Errorf("answer %d %s", a.status, a.body)
		}
	}
}

func TestConnections_IdleAndSlowOnesDisturbNobody(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{})
	for range 100 {
		dial(t, s)
		dial(t, s).write(t, "POST "+kapsoPath+" HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		dial(t, s).write(t, signedHeader()+"Content-Length: 900\r\n\r\n"+response[:100])
	}
	begin := time.Now()
	for range 10 {
		if a := s.deliver(t, response); a.status != http.StatusOK {
			t.Errorf("answer %d %s", a.status, a.body)
		}
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("10 deliveries took %v", took)
	}
	if got := len(s.sink.deliveries()); got != 10 {
		t.Errorf("%d deliveries, want 10", got)
	}
}

func TestOversizedHeadersAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{}, func(server *http.Server) { server.MaxHeaderBytes = 16 << 10 })
	c := dial(t, s)
	// The server may close before it has all of this.
	_, _ = io.WriteString(c, request(strings.Repeat("a", 100<<10), response))
	resp, err := http.ReadResponse(c.from, nil)
	if err != nil {
		return // cut off
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
	s.wantNothingTaken(t)
}
