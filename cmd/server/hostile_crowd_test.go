package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"flowkeep/internal/simulate"
)

// memoryBound is what docs/security.md promises of the whole process.
const memoryBound = 256 << 20

// assault is one thing that a sender without the secret may do with a
// connection. Done, the connection stays open.
type assault struct {
	name  string
	conns int
	do    func(c net.Conn) error
}

const forgedHead = "POST /webhooks/kapso HTTP/1.1\r\nHost: x\r\n" +
	"X-Webhook-Signature: 0000000000000000000000000000000000000000000000000000000000000000\r\n"

func assaults() []assault {
	say := func(text string) func(net.Conn) error {
		return func(c net.Conn) error {
			_, err := io.WriteString(c, text)
			return err
		}
	}
	var headers strings.Builder // the form that costs a server most: short and all different
	for i := range 1500 {
		fmt.Fprintf(&headers, "%s:\r\n", strconv.FormatInt(int64(i), 36))
	}
	large, mega := 8<<20, strings.Repeat("x", 1<<20)
	return []assault{
		{"idle", 3000, say("")},
		{"idle after an answer", 100, say("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"half a header", 1000, say(forgedHead + "X-Slow: " + strings.Repeat("x", 15_000))},
		{"many headers", 500, say(forgedHead + headers.String())},
		{"half a small body", 500, say(forgedHead + "Content-Length: 200\r\n\r\nx")},
		{"half a large body", 20, say(forgedHead + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", large, mega+mega+mega))},
		{"half a chunk", 10, say(forgedHead + "Transfer-Encoding: chunked\r\n\r\n300000\r\n" + mega + mega)},
		{"a whole forged body", 5, say(forgedHead + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", large, strings.Repeat(mega, 8)))},
		{"answers unread", 50, say(strings.Repeat("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n", 200))},
	}
}

// Whatever a crowd without the secret does, the process stays small and goes
// on serving those who have it: a delivery that is cut off in the first rush is
// sent again, as Kapso does.
func TestHostile_CrowdCostsLittleMemory(t *testing.T) {
	t.Parallel()
	s := startServer(t, "DATABASE_URL="+postgres.New(t), "KAPSO_WEBHOOK_SECRET="+testSecret, "FLOWKEEP_DATA_DIR="+t.TempDir())
	withdraw := besiege(t, s.url, assaults())
	ctx, cancel := context.WithTimeout(t.Context(), 2*hostileLimit)
	defer cancel()
	const count = 300
	report, err := simulate.Run(ctx, simulate.Config{
		URL: s.url, Secret: testSecret, Count: count, Rate: 100, Concurrency: 16, Retry: []time.Duration{time.Second, 2 * time.Second},
	})
	withdraw()
	if err != nil || report.Accepted != count || report.Attempts > count+count/4 || report.Latency.P99 > kapsoLimit {
		t.Errorf("%v\n%s", err, report)
	}
	grown, resident := goMemory(t, s.url), memoryOf(t, s.cmd.Process.Pid).peak
	t.Logf("%d MiB of Go, %d MiB resident, p99 %v, %d attempts", grown>>20, resident>>20, report.Latency.P99, report.Attempts)
	if grown > memoryBound || (resident > memoryBound && !raceDetector()) {
		t.Errorf("%d MiB of Go, %d MiB resident, allowed are %d", grown>>20, resident>>20, memoryBound>>20)
	}
}

// besiege makes all assaults at once, each again whenever its connection is
// cut, until withdraw.
func besiege(t *testing.T, url string, all []assault) (withdraw func()) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var under sync.WaitGroup
	for _, a := range all {
		conns := a.conns
		if limit.Cur < 12_000 { // two ends of each, and other tests
			conns = max(1, a.conns*int(limit.Cur)/12_000)
		}
		for range conns {
			under.Go(func() {
				for ctx.Err() == nil {
					assail(ctx, strings.TrimPrefix(url, "http://"), a)
					pause(ctx, 3*time.Second)
				}
			})
		}
	}
	withdraw = sync.OnceFunc(func() {
		cancel()
		under.Wait()
	})
	t.Cleanup(withdraw)
	return withdraw
}

// assail returns when the server has had enough, or the end of ctx.
func assail(ctx context.Context, address string, a assault) {
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	defer c.Close()
	if a.do(c) != nil {
		return
	}
	// It reads one byte at most, then waits to be cut off.
	var b [1]byte
	if _, err := c.Read(b[:]); err == nil {
		<-ctx.Done()
	}
}

// goMemory is all that the Go runtime of the server at url took from the
// system, in bytes. It never shrinks.
func goMemory(t *testing.T, url string) int64 {
	t.Helper()
	var text string
	eventually(t, 10*time.Second, "the metrics are to be had", func() bool {
		var status int
		status, text = get(t, url+"/metrics")
		return status == http.StatusOK
	})
	_, after, _ := strings.Cut(text, "\ngo_memstats_sys_bytes ")
	number, _, _ := strings.Cut(after, "\n")
	bytes, err := strconv.ParseFloat(number, 64)
	if err != nil {
		t.Fatal(err)
	}
	return int64(bytes)
}

// raceDetector says whether this binary carries it: its memory is not ours.
func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}
