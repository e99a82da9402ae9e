package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// hostileLimit is more than any exchange here may take.
const hostileLimit = 20 * time.Second

// dialAddress connects for a sender that need not keep to HTTP.
func dialAddress(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(hostileLimit)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

func dialRaw(t testing.TB, app *App) *net.TCPConn {
	t.Helper()
	return dialAddress(t, app.listener.Addr().String())
}

// exchange sends text, says that there is no more, and returns the status of
// every answer that comes back.
func exchange(t *testing.T, app *App, text string) (statuses []int) {
	t.Helper()
	c := dialRaw(t, app)
	if _, err := io.WriteString(c, text); err != nil {
		t.Logf("the server did not read it all: %v", err)
	}
	_ = c.CloseWrite()
	return answers(t, c)
}

// answers reads to the end of the connection.
func answers(t *testing.T, c net.Conn) (statuses []int) {
	t.Helper()
	from := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(from, nil)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the connection does not end")
			}
			return statuses
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		statuses = append(statuses, resp.StatusCode)
	}
}

// head is a signed delivery of item up to its framing.
func head(item string) string {
	return "POST /webhooks/kapso HTTP/1.1\r\nHost: x\r\nX-Webhook-Signature: " + sign([]byte(item)) + "\r\n"
}

func sized(item string) string {
	return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(item), item)
}

func chunked(item string) string {
	return fmt.Sprintf("\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 10, item[:10], len(item)-10, item[10:])
}

// framing is a delivery in an odd form. Its item is named after it.
type framing struct {
	name   string
	text   func(item string) string
	want   []int // statuses, in order
	stored int   // whether the item is then in the table
}

// Whatever the framing, a body counts as exactly one sequence of bytes, and is
// kept only if its signature is that of these bytes.
func TestHostile_Framing(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	conn := connect(t, cfg.DatabaseURL)
	for _, c := range slices.Concat(lengths(), encodings(), requestLines(), headerLines()) {
		got := exchange(t, app, c.text(flowItem(c.name, "")))
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: answered %v, want %v", c.name, got, c.want)
		}
		if n := query[int](t, conn, "SELECT count(*)::int FROM flow_responses WHERE message_id = $1", c.name); n != c.stored {
			t.Errorf("%s: %d rows, want %d", c.name, n, c.stored)
		}
	}
	if n := query[int](t, conn, "SELECT count(*)::int FROM quarantine"); n != 0 {
		t.Errorf("%d records in quarantine", n)
	}
}

func lengths() []framing {
	length := func(value string) func(string) string {
		return func(item string) string {
			return head(item) + "Content-Length: " + strings.ReplaceAll(value, "N", fmt.Sprint(len(item))) + "\r\n\r\n" + item
		}
	}
	return []framing{
		{"exact length", length("N"), []int{200}, 1},
		{"length too small", func(item string) string {
			return head(item) + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(item)-10, item)
		}, []int{401, 400}, 0},
		{"length too large", func(item string) string {
			return head(item) + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(item)+10, item)
		}, []int{400}, 0},
		{"no length", func(item string) string { return head(item) + "\r\n" + item }, []int{401, 400}, 0},
		{"two equal lengths", length("N\r\nContent-Length: N"), []int{200}, 1},
		{"two lengths", length("N\r\nContent-Length: 7"), []int{400}, 0},
		{"a list of lengths", length("N, N"), []int{400}, 0},
		{"negative length", length("-1"), []int{400}, 0},
		{"length with a sign", length("+N"), []int{400}, 0},
		{"length in hex", length("0xfff"), []int{400}, 0},
		{"length beyond numbers", length("99999999999999999999"), []int{400}, 0},
		{"length beyond the limit", length("99999999999"), []int{413}, 0},
		{"empty length", length(""), []int{400}, 0},
	}
}

func encodings() []framing {
	encoding := func(lines string) func(string) string {
		return func(item string) string { return head(item) + lines + "\r\n" + chunked(item) }
	}
	body := func(format string) func(string) string {
		return func(item string) string {
			return head(item) + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf(format, len(item), item)
		}
	}
	return []framing{
		{"chunks", encoding("Transfer-Encoding: chunked"), []int{200}, 1},
		{"chunks in capitals", encoding("Transfer-Encoding: CHUNKED"), []int{200}, 1},
		{"chunks and a length", encoding("Content-Length: 7\r\nTransfer-Encoding: chunked"), []int{200}, 1},
		{"chunks hide a request", func(item string) string {
			hidden := head(item) + sized(item)
			return head(item) + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%s", 5+len(hidden), hidden)
		}, []int{401, 200}, 1}, // the hidden one counts for itself, with a signature of its own
		{"chunks twice", encoding("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), []int{501}, 0},
		{"chunks of chunks", encoding("Transfer-Encoding: chunked, chunked"), []int{501}, 0},
		{"compressed chunks", encoding("Transfer-Encoding: gzip, chunked"), []int{501}, 0},
		{"unknown encoding", encoding("Transfer-Encoding: xchunked"), []int{501}, 0},
		{"identity", encoding("Transfer-Encoding: identity"), []int{501}, 0},
		{"space before a colon", encoding("Transfer-Encoding : chunked"), []int{400}, 0},
		{"chunk extension", body("%x;a=b\r\n%s\r\n0\r\n\r\n"), []int{200}, 1},
		{"endless chunk extension", body("%x;" + strings.Repeat("x", 100_000) + "\r\n%s\r\n0\r\n\r\n"), []int{400}, 0},
		{"chunk length with 0x", body("0x%x\r\n%s\r\n0\r\n\r\n"), []int{400}, 0},
		{"chunk length beyond numbers", body("fffffffffffffffff%x\r\n%s\r\n0\r\n\r\n"), []int{400}, 0},
		{"chunk too short", body("%x\r\n%s!!\r\n0\r\n\r\n"), []int{400}, 0},
		{"trailer", body("%x\r\n%s\r\n0\r\nX-Webhook-Signature: 00\r\n\r\n"), []int{200}, 1},
		{"bad trailer", body("%x\r\n%s\r\n0\r\nno colon\r\n\r\n"), []int{400}, 0},
		{"last chunk missing", body("%x\r\n%s\r\n"), []int{400}, 0},
		{"content encoding", func(item string) string { return head(item) + "Content-Encoding: gzip\r\n" + sized(item) }, []int{415}, 0},
		{"content encoding identity", func(item string) string { return head(item) + "Content-Encoding: identity\r\n" + sized(item) }, []int{200}, 1},
	}
}

func requestLines() []framing {
	version := func(v string) func(string) string {
		return func(item string) string { return strings.Replace(head(item), "HTTP/1.1", v, 1) + sized(item) }
	}
	return []framing{
		{"HTTP/1.0", version("HTTP/1.0"), []int{200}, 1},
		{"HTTP/1.0 in chunks", func(item string) string {
			return strings.Replace(head(item), "HTTP/1.1", "HTTP/1.0", 1) + "Transfer-Encoding: chunked\r\n" + chunked(item)
		}, []int{401}, 0},
		{"HTTP/0.9", func(string) string { return "GET /metrics\r\n\r\n" }, []int{400}, 0},
		{"HTTP/2.0 without its preface", version("HTTP/2.0"), []int{505}, 0},
		{"HTTP/3.0", version("HTTP/3.0"), []int{505}, 0},
		{"preface of HTTP/2", func(item string) string {
			return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" + head(item) + sized(item)
		}, []int{404}, 0},
		{"TLS", func(string) string {
			return "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 50)
		}, []int{400}, 0},
		{"pipelined", func(item string) string {
			good := head(item) + sized(item)
			return good + strings.Replace(good, "X-Webhook-Signature: ", "X-Webhook-Signature: f", 1)
		}, []int{200, 401}, 1},
		{"a refused body that is a request", func(item string) string {
			hidden := head(item) + sized(item)
			return "POST /webhooks/kapso HTTP/1.1\r\nHost: x\r\n" + sized(hidden)
		}, []int{401}, 0},
	}
}

func headerLines() []framing {
	line := func(l string) func(string) string {
		return func(item string) string { return head(item) + l + "\r\n" + sized(item) }
	}
	return []framing{
		{"expects 100-continue", line("Expect: 100-continue"), []int{100, 200}, 1},
		{"expects something else", line("Expect: a miracle"), []int{417}, 0},
		{"two signatures", line("X-Webhook-Signature: 00"), []int{401}, 0},
		{"two hosts", line("Host: y"), []int{400}, 0},
		{"no host", func(item string) string { return strings.Replace(head(item), "Host: x\r\n", "", 1) + sized(item) }, []int{400}, 0},
		{"no colon", line("nothing"), []int{400}, 0},
		{"NUL in a header", line("X-A: a\x00b"), []int{400}, 0},
		{"CR in a header", line("X-A: a\rContent-Length: 3"), []int{400}, 0},
		{"asks for HTTP/2", line("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), []int{200}, 1},
		{"asks for a web socket", line("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA=="), []int{200}, 1},
		{"large header", line("X-A: " + strings.Repeat("x", 100_000)), []int{431}, 0},
		{"many headers", line(strings.TrimSuffix(strings.Repeat("X-A: x\r\n", 10_000), "\r\n")), []int{431}, 0},
	}
}

// Every spelling of a path is the same address, or none.
func TestHostile_Paths(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	conn := connect(t, cfg.DatabaseURL)
	for target, want := range map[string]int{
		"/webhooks/kapso": 200, "/webhooks/kapso?": 200, "/webhooks/kapso?a=%zz;b": 200, "http://x/webhooks/kapso": 200,
		"http://elsewhere/webhooks/kapso": 200, "/webhooks/kapso#a": 404, "//webhooks/kapso": 404, "/webhooks//kapso": 404,
		"/webhooks/kapso/": 404, "/webhooks/kapso//": 404, "/webhooks/kapso;x": 404, "/webhooks/kapso%20": 404, "/webhooks/kapso%00": 404,
		"/webhooks/kapso%2f": 404, "/webhooks%2fkapso": 404, "%2fwebhooks/kapso": 400, "/webhooks/%6bapso": 404, "/Webhooks/Kapso": 404,
		"/webhooks/./kapso": 404, "/webhooks/../webhooks/kapso": 404, "/webhooks/%2e%2e/webhooks/kapso": 404, "/metrics/../webhooks/kapso": 404,
		"/webhooks\\kapso": 404, "/webhooks/kapso\\..\\..\\metrics": 404, "/webhooks/kapso%": 400, "/webhooks/kapso%zz": 400, "/webhooks/\x7f": 400,
		"/webhooks/ｋapso": 404, "/webhooks/kapso/..;/..;/metrics": 404, "webhooks/kapso": 400, "http:///webhooks/kapso": 200, "*": 404, "/": 404, "": 400,
		"http://x": 404, "/healthz": 405, "/readyz/": 404, "/metrics": 405, "/debug/pprof/": 404, "/.env": 404, "/" + strings.Repeat("a/", 3000): 404,
		"/?x=" + strings.Repeat("a", 30_000): 431,
	} {
		item := flowItem(target, "")
		got := exchange(t, app, strings.Replace(head(item), "/webhooks/kapso", target, 1)+sized(item))
		if !slices.Equal(got, []int{want}) {
			t.Errorf("%.60q: answered %v, want %d", target, got, want)
		}
		if want == 200 {
			want = 1
		} else {
			want = 0
		}
		if n := query[int](t, conn, "SELECT count(*)::int FROM flow_responses WHERE message_id = $1", target); n != want {
			t.Errorf("%.60q: %d rows, want %d", target, n, want)
		}
	}
}

func TestHostile_Methods(t *testing.T) {
	t.Parallel()
	app := startApp(t, testConfig(t))
	for line, want := range map[string][]int{
		"GET /webhooks/kapso": {405}, "PUT /webhooks/kapso": {405}, "DELETE /webhooks/meta": {405}, "post /webhooks/kapso": {405},
		"TRACE /webhooks/kapso": {405}, "CONNECT /webhooks/kapso": {405}, "CONNECT x:443": {404}, "OPTIONS *": {404}, "OPTIONS /webhooks/kapso": {405},
		"POST\t/webhooks/kapso": {400}, "PO ST /webhooks/kapso": {400}, "GET  /healthz": {400}, "NOBODYKNOWS /healthz": {405}, "GET /healthz": {200},
	} {
		if got := exchange(t, app, line+" HTTP/1.1\r\nHost: x\r\n\r\n"); !slices.Equal(got, want) {
			t.Errorf("%q: answered %v, want %v", line, got, want)
		}
	}
}

// startImpatient runs an App that waits a shorter time for its senders.
func startImpatient(t *testing.T) *App {
	t.Helper()
	app, err := openApp(t.Context(), testConfig(t), zerolog.Nop(), keepDurably)
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []*time.Duration{&app.server.ReadHeaderTimeout, &app.server.ReadTimeout, &app.server.WriteTimeout, &app.server.IdleTimeout} {
		if *limit <= 0 || *limit > 90*time.Second {
			t.Errorf("the server waits %v", *limit)
		}
	}
	app.server.ReadHeaderTimeout, app.server.ReadTimeout = 200*time.Millisecond, 400*time.Millisecond
	app.server.WriteTimeout, app.server.IdleTimeout = 800*time.Millisecond, 400*time.Millisecond
	serveApp(t, app)
	return app
}

// A sender that is slow at any point is cut off, with an answer where HTTP
// allows one.
func TestHostile_Slow(t *testing.T) {
	t.Parallel()
	app := startImpatient(t)
	item := flowItem("slow", "")
	for name, c := range map[string]struct {
		text string
		want []int
	}{
		"says nothing":         {"", nil},
		"request line":         {"POST /webho", []int{400}},
		"header":               {head(item) + "X-Slow: ", nil},
		"body":                 {head(item) + "Content-Length: 900\r\n\r\n" + item[:100], []int{408}},
		"body, not a byte":     {head(item) + "Content-Length: 900\r\n\r\n", []int{408}},
		"chunks":               {head(item) + "Transfer-Encoding: chunked\r\n\r\n384\r\n" + item[:100], []int{408}},
		"between requests":     {head(item) + sized(item), []int{200}},
		"invited body":         {head(item) + "Expect: 100-continue\r\nContent-Length: 900\r\n\r\n", []int{100, 408}},
		"body of an unsigned":  {"POST /webhooks/kapso HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n", []int{401}},
		"body for no address":  {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n", []int{404}},
		"body of a GET":        {"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n", []int{200}},
		"body of a GET, begun": {"GET /readyz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n384\r\nx", []int{200}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c1 := dialRaw(t, app)
			if _, err := io.WriteString(c1, c.text); err != nil {
				t.Fatal(err)
			}
			if got := answers(t, c1); !slices.Equal(got, c.want) {
				t.Errorf("answered %v, want %v", got, c.want)
			}
		})
	}
}

// A sender that asks and asks and reads no answer is cut off as well. Its own
// writing fails then.
func TestHostile_NeverReads(t *testing.T) {
	t.Parallel()
	app := startImpatient(t)
	c := dialRaw(t, app)
	if err := c.SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	ask := strings.Repeat("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 100)
	var err error
	for err == nil {
		_, err = io.WriteString(c, ask)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("still connected: %v", err)
	}
}
