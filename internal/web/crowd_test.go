package web_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"flowkeep/internal/web"
)

// crowded starts a server of at most three strangers. What is sent to /trusted
// is vouched for, and answered once release is closed.
func crowded(t *testing.T, release <-chan struct{}) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/trusted" {
			web.Vouch(r.Context())
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
			<-release
		}
	}))
	web.NewCrowd(3).Bound(s.Config)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// visitor is a connection that has said something and got its answer.
func visitor(t *testing.T, s *httptest.Server, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	from := bufio.NewReader(c)
	if _, err := from.Peek(len("HTTP/1.1 200 OK")); err != nil {
		t.Fatal(err)
	}
	return c, from
}

func TestCrowd_TheOldestStrangerGivesWay(t *testing.T) {
	t.Parallel()
	s := crowded(t, nil)
	first, fromFirst := visitor(t, s, "/")
	_, fromSecond := visitor(t, s, "/")
	visitor(t, s, "/")
	if _, err := io.WriteString(first, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil { // now the second waits longest
		t.Fatal(err)
	}
	for range 2 {
		resp, err := http.ReadResponse(fromFirst, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	visitor(t, s, "/")
	if _, err := io.Copy(io.Discard, fromSecond); err != nil {
		t.Errorf("the second is still there: %v", err)
	}
	if _, err := io.WriteString(first, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := fromFirst.Peek(1); err != nil {
		t.Errorf("the first was cut off: %v", err)
	}
}

func TestCrowd_TheTrustedStay(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := crowded(t, release)
	var trusted []*bufio.Reader
	for range 5 {
		_, from := visitor(t, s, "/trusted")
		trusted = append(trusted, from)
	}
	for range 10 {
		visitor(t, s, "/")
	}
	close(release)
	for _, from := range trusted {
		resp, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "begun" {
			t.Errorf("%q, %v", text, err)
		}
		resp.Body.Close()
	}
}
