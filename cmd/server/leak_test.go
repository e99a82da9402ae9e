package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"flowkeep/internal/simulate"
)

const (
	leakPassword    = "Pa55word-of-the-database"
	leakOldSecret   = "an-older-webhook-secret"
	leakAppSecret   = "the-secret-of-the-meta-app"
	leakVerifyToken = "token-for-the-handshake"
)

// What a delivery holds, and every secret, stays out of the log at its finest
// level, out of the metrics, and out of the answers, whatever goes wrong.
func TestLeak_NothingOfADeliveryIsSaid(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"debug", "trace"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			l := startLeakTest(t, level)
			l.sendCorpus()
			l.simulate()
			l.beRefused()
			l.poison()
			l.lockTable()
			l.fillSpool()
			if err := l.server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := l.server.wait(15 * time.Second); err != nil {
				t.Error(err)
			}
			l.look()
		})
	}
}

// leakTest is a server, what it was given, and what it said.
type leakTest struct {
	t      *testing.T
	admin  *pgx.Conn // of the database, as its owner
	url    string    // of the database, as its owner
	proxy  *proxy
	server *process

	mu    sync.Mutex
	given map[string]bool // texts that must not be said
	said  output          // answers and metrics; the log is the server's output
}

func startLeakTest(t *testing.T, level string) *leakTest {
	t.Helper()
	l := &leakTest{t: t, url: postgres.New(t), given: map[string]bool{}}
	l.admin = connect(t, l.url)
	l.proxy = startProxy(t, l.url)
	address, err := url.Parse(l.proxy.url)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := address.User.Password()
	if password == "" { // and none is asked for
		password = leakPassword
	}
	address.User = url.UserPassword(address.User.Username(), password)
	l.server = startServer(t, "DATABASE_URL="+address.String(), "KAPSO_WEBHOOK_SECRET="+testSecret+","+leakOldSecret,
		"META_APP_SECRET="+leakAppSecret, "META_VERIFY_TOKEN="+leakVerifyToken, "FLOWKEEP_DATA_DIR="+t.TempDir(),
		"FLOWKEEP_LOG_LEVEL="+level, "FLOWKEEP_LOG_FORMAT=json", "FLOWKEEP_SPOOL_MAX_BYTES=1048576")
	for _, secret := range []string{testSecret, leakOldSecret, leakAppSecret, leakVerifyToken, password} {
		l.given[secret] = true
	}
	return l
}

// post sends a body and returns the status; the answer is looked at later.
func (l *leakTest) post(path, signatureHeader, signature string, body []byte, headers map[string]string) int {
	l.t.Helper()
	l.give(body)
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodPost, l.server.url+path, bytes.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	if key := req.Header.Get("X-Idempotency-Key"); key != "" {
		l.note(key)
	}
	req.Header.Set(signatureHeader, signature)
	return l.do(req)
}

func (l *leakTest) do(req *http.Request) int {
	l.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	fmt.Fprintf(&l.said, "%v\n%s\n", resp.Header, text)
	return resp.StatusCode
}

func (l *leakTest) get(path string) int {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, l.server.url+path, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.do(req)
}

func (l *leakTest) want(got, want int, what string) {
	l.t.Helper()
	if got != want {
		l.t.Errorf("%s: status %d, want %d", what, got, want)
	}
	l.get("/readyz")
}

// sendCorpus delivers every payload to both addresses, with every signature.
func (l *leakTest) sendCorpus() {
	l.t.Helper()
	files, err := filepath.Glob(corpusDir + "/payloads/*.json")
	if err != nil || len(files) < 60 {
		l.t.Fatalf("%d payloads, %v", len(files), err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			l.t.Fatal(err)
		}
		headers := corpusHeaders(l.t, file)
		for _, c := range []struct {
			path, header, signature string
			want                    int
		}{
			{"/webhooks/kapso", "X-Webhook-Signature", sign(body), 200},
			{"/webhooks/kapso", "X-Webhook-Signature", "sha256=" + simulate.Sign(leakOldSecret, body), 200},
			{"/webhooks/meta", "X-Hub-Signature-256", "sha256=" + simulate.Sign(leakAppSecret, body), 200},
			{"/webhooks/kapso", "X-Webhook-Signature", simulate.Sign(leakAppSecret, body), 401},
			{"/webhooks/meta", "X-Hub-Signature-256", string(bytes.ToValidUTF8(body[:min(40, len(body))], nil)), 401},
		} {
			c.signature = strings.Map(func(r rune) rune {
				if r < ' ' {
					return -1
				}
				return r
			}, c.signature)
			if got := l.post(c.path, c.header, c.signature, body, headers); got != c.want {
				l.t.Errorf("%s: status %d, want %d", filepath.Base(file), got, c.want)
			}
		}
	}
}

// simulate sends traffic of every kind, singles and batches.
func (l *leakTest) simulate() {
	l.t.Helper()
	for _, batch := range []int{1, 5} {
		report, err := simulate.Run(l.t.Context(), simulate.Config{
			URL: l.server.url, Secret: testSecret, Count: 300, Batch: batch, Mix: mixOf(l.t, "default=2,custom=2,other=2,duplicate=1,odd=5"),
			OnAnswer: func(s simulate.Sent, a simulate.Answer) {
				l.give(s.Body)
				l.note(s.Header.Get("X-Idempotency-Key"))
				fmt.Fprintf(&l.said, "%s\n", a.Body)
			},
		})
		if err != nil || report.Accepted != 300 {
			l.t.Errorf("%v\n%s", err, report)
		}
	}
}

// person is what the requests of beRefused hold, wherever there is room.
const person = "Augustina-Featherstone-4915112345678"

// beRefused does all that is answered with an error, with a person's name and
// number wherever a sender can write.
func (l *leakTest) beRefused() {
	l.t.Helper()
	l.note(person)
	l.want(l.get("/webhooks/meta?hub.mode=subscribe&hub.challenge="+person+"&hub.verify_token="+person), 403, "wrong token")
	l.want(l.get("/webhooks/meta?hub.mode="+person+"&hub.verify_token="+leakVerifyToken), 403, "wrong mode")
	l.want(l.get("/"+person+"?"+person+";"+person), 404, "path")
	l.want(l.get("/webhooks/kapso?"+person), 405, "method")
	item := flowItem(person, person)
	address, signed := strings.TrimPrefix(l.server.url, "http://"), head(item)
	inChunks := fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(item), item)
	for text, want := range map[string]int{
		signed + "Content-Encoding: " + person + "\r\n" + sized(item):                     415,
		signed + "Content-Length: 99999999\r\n\r\n" + item:                                413,
		signed + "Content-Length: 9999\r\n\r\n" + item:                                    400,
		signed + "Content-Length: " + person + "\r\n\r\n" + item:                          400,
		signed + "Transfer-Encoding: " + person + "\r\n\r\n" + item:                       501,
		signed + "Transfer-Encoding: chunked\r\n\r\n" + person + "\r\n":                   400,
		signed + inChunks + "0\r\n" + person + " " + person + "\r\n\r\n":                  400,
		signed + "Expect: " + person + "\r\n" + sized(item):                               417,
		signed + person + "\r\n" + sized(item):                                            400,
		signed + "X-Large: " + strings.Repeat(person, 3000) + "\r\n" + sized(item):        431,
		"X" + person + " / HTTP/1.1\r\nHost: x\r\n\r\n":                                   404,
		"GET / HTTP/" + person + "\r\nHost: x\r\n\r\n":                                    400,
		"GET /" + person + "%zz HTTP/1.1\r\nHost: x\r\n\r\n":                              400,
		"GET / HTTP/1.1\r\nHost: " + person + "{}\r\n\r\n":                                400,
		strings.Replace(signed, "/kapso", "/kapso?"+person+";x", 1) + "\r\n" + item:       401,
		strings.Replace(signed, "Signature: ", "Signature: "+person, 1) + sized(item):     401,
		strings.Replace(signed, "HTTP/1.1", "HTTP/1.1"+person, 1) + sized(item):           400,
		strings.Replace(signed, "Signature: ", "Signature: \x01"+person, 1) + sized(item): 400,
	} {
		c := dialAddress(l.t, address)
		_, _ = io.WriteString(c, text) // it may be refused half-way
		_ = c.CloseWrite()
		answer, _ := io.ReadAll(c)
		fmt.Fprintf(&l.said, "%s\n", answer)
		if !bytes.HasPrefix(answer, fmt.Appendf(nil, "HTTP/1.1 %d ", want)) {
			l.t.Errorf("%.300q: answered %.100q, want %d", text, answer, want)
		}
	}
}

// spoilSQL makes the database refuse certain rows, and quote them.
const spoilSQL = `
CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.response->>'text' LIKE 'row fault%' THEN
		RAISE EXCEPTION 'no: % % %', NEW.wa_id, NEW.response, NEW.message_id USING ERRCODE = '23514';
	ELSIF NEW.response->>'text' LIKE 'unknown fault%' THEN
		RAISE EXCEPTION 'no: % % %', NEW.wa_id, NEW.response, NEW.message_id USING DETAIL = NEW.response;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER spoil BEFORE INSERT ON flow_responses FOR EACH ROW EXECUTE FUNCTION spoil()`

func (l *leakTest) deliver(id, text string) int {
	l.t.Helper()
	item := []byte(flowItem(id, text))
	return l.post("/webhooks/kapso", "X-Webhook-Signature", sign(item), item, map[string]string{"X-Idempotency-Key": "key-of-" + id})
}

// poison delivers what the database refuses, for the row's sake and for
// reasons of its own.
func (l *leakTest) poison() {
	l.t.Helper()
	l.exec(spoilSQL)
	l.want(l.deliver("wamid.row-fault", "row fault of Wilhelmina"), 200, "row fault")
	if n := query[int](l.t, l.admin, "SELECT count(*)::int FROM quarantine WHERE reason = 'rejected_by_database'"); n != 1 {
		l.t.Errorf("%d rejected rows", n)
	}
	l.want(l.deliver("wamid.unknown-fault", "unknown fault of Wilhelmina"), 200, "unknown fault")
	l.exec("DROP TRIGGER spoil ON flow_responses")
	l.holds("wamid.unknown-fault")
	l.exec("ALTER TABLE flow_responses RENAME COLUMN wa_id TO somewhere_else")
	l.want(l.deliver("wamid.no-column", "no column for Wilhelmina"), 200, "changed schema")
	l.exec("ALTER TABLE flow_responses RENAME COLUMN somewhere_else TO wa_id")
	l.holds("wamid.no-column")
}

func (l *leakTest) lockTable() {
	l.t.Helper()
	release := lockTable(l.t, l.url, "flow_responses")
	l.want(l.deliver("wamid.locked-out", "locked out like Wilhelmina"), 200, "locked table")
	release()
	l.holds("wamid.locked-out")
}

// fillSpool delivers without a database until nothing more is taken.
func (l *leakTest) fillSpool() {
	l.t.Helper()
	l.proxy.setAway(true)
	status := 0
	for i := 0; status != http.StatusServiceUnavailable && i < 100; i++ {
		status = l.deliver(fmt.Sprintf("wamid.spooled-%d", i), strings.Repeat("Wilhelmina ", 10_000))
	}
	l.want(status, 503, "full spool")
	l.want(l.get("/readyz"), 503, "readiness")
	for line := range strings.SplitSeq(l.metrics(), "\n") { // numbers tell nothing
		name, _, _ := strings.Cut(line, "} ")
		fmt.Fprintln(&l.said, name)
	}
}

func (l *leakTest) metrics() string {
	l.t.Helper()
	_, text := get(l.t, l.server.url+"/metrics")
	return text
}

func (l *leakTest) exec(sql string) {
	l.t.Helper()
	if _, err := l.admin.Exec(l.t.Context(), sql); err != nil {
		l.t.Fatal(err)
	}
}

// holds waits until the table holds a message.
func (l *leakTest) holds(id string) {
	l.t.Helper()
	eventually(l.t, 30*time.Second, id+" is stored", func() bool {
		return query[bool](l.t, l.admin, "SELECT EXISTS (SELECT FROM flow_responses WHERE message_id = $1)", id)
	})
}

// give notes each value in a body that must not be said.
func (l *leakTest) give(body []byte) {
	var value any
	from := json.NewDecoder(bytes.NewReader(body))
	from.UseNumber()
	if from.Decode(&value) == nil {
		l.giveValue(value)
		return
	}
	for _, text := range regexp.MustCompile(`[^"\\{}\[\]:,]{6,}`).FindAllString(string(body), -1) {
		l.note(text)
	}
}

func (l *leakTest) giveValue(value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, v := range v {
			l.giveValue(v)
		}
	case []any:
		for _, v := range v {
			l.giveValue(v)
		}
	case json.Number:
		l.note(v.String())
	case string:
		var inner any
		if json.Unmarshal([]byte(v), &inner) == nil {
			l.giveValue(inner)
		}
		l.note(v)
	}
}

// note adds one text, unless it is too short or too common to tell anything. A
// flow's id is the owner's own.
func (l *leakTest) note(text string) {
	digits := strings.Trim(text, "0123456789.+-eE") == ""
	if len(text) < 6 || (digits && len(text) < 8) || isToday(text) ||
		slices.Contains(ourOwnWords(), text) || slices.Contains(simulate.FlowIDs(), text) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.given[text] = true
	coded, isWamid := strings.CutPrefix(text, "wamid.")
	if !isWamid || len(coded) < 12 {
		return
	}
	l.given[coded] = true
	l.given[coded[len(coded)-12:]] = true // the part that differs
	if raw, err := base64.StdEncoding.DecodeString(coded[:len(coded)/4*4]); err == nil {
		for _, number := range regexp.MustCompile(`[0-9]{8,}`).FindAllString(string(raw), -1) {
			l.given[number] = true
		}
	}
}

// isToday says that a text is a day on which the server may log a line.
func isToday(text string) bool {
	day, err := time.Parse(time.DateOnly, text)
	return err == nil && time.Since(day).Abs() < 72*time.Hour
}

// ourOwnWords are values in the corpus that the server also says of itself.
func ourOwnWords() []string {
	return []string{"received", "message", "messages", "webhook", "status", "failed", "template", "unused", "flow_token", "response_json"}
}

// look searches everything that was said for everything that was given.
func (l *leakTest) look() {
	l.t.Helper()
	log := l.server.out.String()
	if len(l.given) < 1000 || strings.Count(log, "\n") < 1000 {
		l.t.Fatalf("%d texts in %d bytes prove nothing", len(l.given), len(log))
	}
	said := log + decoded(l.t, log) + l.said.String()
	for _, text := range slices.Sorted(maps.Keys(l.given)) {
		for _, form := range []string{text, url.QueryEscape(text), strings.Trim(fmt.Sprintf("%q", text), `"`)} {
			if place := strings.Index(said, form); place >= 0 {
				l.t.Errorf("%.60q is said: …%.300q", text, said[max(0, place-150):])
				break
			}
		}
	}
}

// decoded returns the texts of each line of the log as they were before they
// became JSON. That every line is JSON is checked on the way.
func decoded(t *testing.T, log string) string {
	t.Helper()
	var all strings.Builder
	for line := range strings.Lines(log) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Errorf("no JSON in the log: %.200q", line)
		}
		for _, v := range fields {
			fmt.Fprintln(&all, v)
		}
	}
	return all.String()
}

// A start that fails says why, and not with which password.
func TestLeak_AFailedStartKeepsThePassword(t *testing.T) {
	t.Parallel()
	latin, err := url.Parse(postgres.NewLatin(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{
		"postgres://u:" + leakPassword + "@127.0.0.1:1/none?connect_timeout=1",
		"postgres://u:" + leakPassword + "@127.0.0.1:port/none",
		"postgres://u:" + leakPassword + "%zz@127.0.0.1/none",
		"postgres://u:" + leakPassword + "@[::1/none",
		"postgres://u:" + leakPassword + "@127.0.0.1:1/none?sslmode=odd",
		"postgres://u:" + leakPassword + "@127.0.0.1:1/none?pool_max_conns=odd",
		"postgres ://u:" + leakPassword + "@127.0.0.1/none",
		"mysql://u:" + leakPassword + "@127.0.0.1/none",
		"host=127.0.0.1 port=1 user=u password=" + leakPassword + " dbname=none",
		"host=127.0.0.1 port=odd user=u password=" + leakPassword,
		"host=127.0.0.1 port=1 user=u password='" + leakPassword,
		"host=127.0.0.1 port=1 user=u password = " + leakPassword + " sslmode=odd",
		"host=127.0.0.1 user=u " + leakPassword,
		leakPassword,
		latin.String(),
	} {
		p := startProcess(t, []string{
			"DATABASE_URL=" + address, "KAPSO_WEBHOOK_SECRET=" + testSecret, "FLOWKEEP_ADDR=127.0.0.1:0",
			"FLOWKEEP_DATA_DIR=" + t.TempDir(), "FLOWKEEP_LOG_LEVEL=trace",
		}, "serve")
		_ = p.wait(20 * time.Second)
		if p.cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("exit %d with %s", p.cmd.ProcessState.ExitCode(), address)
		}
		for _, secret := range []string{leakPassword, leakPassword[:12], testSecret} {
			if text := p.out.String(); strings.Contains(text, secret) {
				t.Errorf("%s: says %q: %s", address, secret, text)
			}
		}
	}
}
