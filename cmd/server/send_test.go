package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flowkeep/internal/kapso"
	"flowkeep/internal/simulate"
	"flowkeep/internal/store"
	"flowkeep/internal/store/sends"
)

// The page's own objects (sending-flows.txt).
const (
	pageFlow = `{"phoneNumberId":"647015955153740","to":"15551234567","bodyText":"Book your appointment","parameters":{
		"flowId":"1197715005513101","flowCta":"Book now","flowAction":"navigate",
		"flowActionPayload":{"screen":"BOOKING","data":{"available_dates":["2024-01-15","2024-01-16"]}}}}`
	pageCreate = `{"businessAccountId":"123456789","name":"booking_flow","category":"UTILITY","language":"en_US","components":[
		{"type":"BODY","text":"Ready to book your appointment?"},
		{"type":"BUTTONS","buttons":[{"type":"FLOW","text":"Book now","flowId":"1197715005513101","flowAction":"navigate","navigateScreen":"BOOKING"}]}]}`
	pageTemplate = `{"phoneNumberId":"647015955153740","to":"15551234567","template":{"name":"booking_flow","language":{"code":"en_US"},"components":[
		{"type":"button","subType":"flow","index":"0","parameters":[{"type":"action","action":{"flowToken":"user_123_booking",
		"flowActionData":{"available_dates":["2024-01-15","2024-01-16"]}}}]}]}}`
)

// testAPIKey is in no output.
const testAPIKey = "kapso-key-for-tests"

// kapsoServer is a simulated Kapso, and the environment of a command that calls
// it.
func kapsoServer(t *testing.T, c simulate.KapsoConfig) (fake *simulate.Kapso, environ []string) {
	t.Helper()
	c.Key = testAPIKey
	fake, err := simulate.NewKapso(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	url := postgres.New(t)
	if err := store.MigrateUp(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	return fake, []string{
		"DATABASE_URL=" + url, "FLOWKEEP_DATA_DIR=" + t.TempDir(),
		"KAPSO_BASE_URL=" + server.URL + simulate.KapsoPath, "KAPSO_API_KEY=" + testAPIKey,
	}
}

// runWith runs a command with its whole environment and standard input.
func runWith(t *testing.T, environ []string, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), program{environ: environ, stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs}, args)
	if strings.Contains(out.String()+errs.String(), testAPIKey) {
		t.Errorf("%v: the key is in the output", args)
	}
	return code, out.String(), errs.String()
}

func TestSend_ThePageByJSONAndByFlags(t *testing.T) {
	t.Parallel()
	var sends []simulate.KapsoSend
	_, environ := kapsoServer(t, simulate.KapsoConfig{OnSend: func(s simulate.KapsoSend) { sends = append(sends, s) }})
	file := filepath.Join(t.TempDir(), "template.json")
	if err := os.WriteFile(file, []byte(pageTemplate), 0o600); err != nil {
		t.Fatal(err)
	}
	to := []string{"--from", "647015955153740", "--to", "15551234567", "--data", `{"available_dates":["2024-01-15","2024-01-16"]}`}
	for _, c := range []struct {
		stdin string
		args  []string
		want  string
	}{
		{pageFlow, []string{"send", "flow", "--json", "-"}, `^wamid\.\S+\n$`},
		{"", append([]string{
			"send", "flow", "--flow", "1197715005513101", "--body", "Book your appointment",
			"--cta", "Book now", "--action", "navigate", "--screen", "BOOKING", "--context", `{"order":7}`,
		}, to...), `^wamid\.\S+\n$`},
		{pageCreate, []string{"template", "create", "--json", "-"}, `^\d+ APPROVED UTILITY\n$`},
		{"", []string{"send", "template", "--json", file, "--flow", "1197715005513101"}, `^wamid\.\S+\n$`},
		{"", append([]string{"send", "template", "--flow", "1197715005513101", "--name", "booking_flow", "--language", "en_US", "--token", "user_123_booking"}, to...), `^wamid\.\S+\n$`},
		{"", []string{
			"template", "create", "--account", "123456789", "--name", "booking_flow", "--category", "UTILITY", "--language", "en_US",
			"--body", "Ready?", "--cta", "Book now", "--flow", "1197715005513101", "--action", "navigate", "--screen", "BOOKING",
		}, `^\d+ APPROVED UTILITY\n$`},
	} {
		code, stdout, stderr := runWith(t, environ, c.stdin, c.args...)
		if code != 0 || stderr != "" || !regexp.MustCompile(c.want).MatchString(stdout) {
			t.Errorf("%v: exit code %d, %q\n%s", c.args, code, stdout, stderr)
		}
	}
	if len(sends) != 4 {
		t.Fatalf("%d messages arrived", len(sends))
	}
	for _, pair := range [][2]int{{0, 1}, {2, 3}} { // flags make what the JSON makes
		if diff := cmp.Diff(sends[pair[0]].Body, sends[pair[1]].Body); diff != "" {
			t.Error(diff)
		}
	}
	if sends[0].FlowToken != "1197715005513101" || sends[2].FlowToken != "user_123_booking" || sends[2].FlowID != "1197715005513101" {
		t.Errorf("%+v", sends)
	}
}

// A dry run needs neither a key nor a database.
func TestSend_DryRun(t *testing.T) {
	t.Parallel()
	environ := []string{"DATABASE_URL=postgres://nobody@127.0.0.1:1/none", "HOME=/nowhere"}
	for _, c := range []struct{ stdin, words, path, body string }{
		{pageFlow, "send flow", "647015955153740/messages", "flow_page"},
		{pageTemplate, "send template", "647015955153740/messages", "template_page"},
		{pageCreate, "template create", "123456789/message_templates", "create_page"},
	} {
		code, stdout, stderr := runWith(t, environ, c.stdin, append(strings.Fields(c.words), "--json", "-", "--dry-run")...)
		head, body, _ := strings.Cut(stdout, "\n\n")
		if want := "POST https://api.kapso.ai/meta/whatsapp/v24.0/" + c.path + "\nContent-Type: application/json\nX-API-Key: (KAPSO_API_KEY)"; code != 0 || head != want {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
		text, err := os.ReadFile("../../internal/kapso/testdata/" + c.body + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var sdk struct{ Body any }
		var got any
		if err := errors.Join(json.Unmarshal(text, &sdk), json.Unmarshal([]byte(body), &got)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sdk.Body, got); diff != "" {
			t.Errorf("%s: %s", c.body, diff)
		}
	}
}

func TestSend_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	fake, environ := kapsoServer(t, simulate.KapsoConfig{Fail: []simulate.Failure{simulate.FailWindow}})
	for _, c := range []struct {
		stdin, words string
		code         int
		want         string
	}{
		{"", "send", 2, "say flow or template"},
		{"", "template", 2, "say create"},
		{"", "send flow", 2, "parameters.flowCta: is missing"},
		{"{}", "send flow --json - --to 1", 2, "--json holds the whole object: leave out --to"},
		{"{", "send flow --json -", 2, "unexpected EOF"},
		{`{"to":1}`, "send flow --json -", 2, "to of type string"},
		{pageFlow, "send flow --json - --context 7", 2, "--context must be a JSON object"},
		{pageTemplate, "send template --json -", 2, "--flow is missing"},
		{"", "send flow --json /none", 1, "no such file"},
		{strings.Repeat(" ", 2<<20), "send flow --json -", 1, "more than 1048576 bytes"},
		{pageTemplate, "send template --json - --flow 1", 1, "code 131047: "},
		{pageTemplate, "send template --json - --flow 1", 1, "there is no such approved template in that language"},
	} {
		code, stdout, stderr := runWith(t, environ, c.stdin, strings.Fields(c.words)...)
		if code != c.code || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d\n%s%s", c.words, code, stdout, stderr)
		}
	}
	if r := fake.Report(); r.Messages != 0 {
		t.Errorf("%+v", r)
	}
	code, _, stderr := runWith(t, []string{"FLOWKEEP_DATA_DIR=" + t.TempDir()}, pageFlow, "send", "flow", "--json", "-")
	if code != 1 || !strings.Contains(stderr, "set KAPSO_API_KEY") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// fakeRegister remembers, and fails where it is told to.
type fakeRegister struct {
	state atomic.Value // a string
	why   string
	sent  sends.Send
	fail  string
}

func (f *fakeRegister) note(state, why string) error {
	if f.fail == state {
		return errors.New("the database is away")
	}
	f.state.Store(state)
	f.why = why
	return nil
}

func (f *fakeRegister) Begin(_ context.Context, m sends.Send) (int64, error) {
	f.sent = m
	return 7, f.note("pending", "")
}

func (f *fakeRegister) Sent(ctx context.Context, _ int64, wamid string) error {
	return errors.Join(ctx.Err(), f.note("sent", wamid))
}

func (f *fakeRegister) Failed(ctx context.Context, _ int64, why string) error {
	return errors.Join(ctx.Err(), f.note("failed", why))
}

func (f *fakeRegister) InDoubt(ctx context.Context, _ int64, why string) error {
	return errors.Join(ctx.Err(), f.note("in doubt", why))
}

// Whatever happens, the register says it: written before the call, settled
// after it, also when the command was interrupted.
func TestSendRegistered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name            string
		fail            simulate.Failure
		registerFails   string
		interrupt       bool
		state, why, err string
		accepted        int
		wamid           bool
	}{
		{name: "sent", fail: simulate.FailNot, state: "sent", accepted: 1, wamid: true},
		{name: "refused", fail: simulate.FailWindow, state: "failed", why: "131047", err: "24 hours"},
		{name: "cut", fail: simulate.FailCut, state: "in doubt", why: "no answer", err: "number 7 in flow_sends", accepted: 1},
		{name: "server", fail: simulate.FailServer, state: "in doubt", why: "131000", err: "It may have arrived"},
		{name: "not registered", fail: simulate.FailNot, registerFails: "pending", state: "none", err: "nothing was sent: the database is away"},
		{name: "not settled", fail: simulate.FailNot, registerFails: "sent", state: "pending", err: "was sent, but stays pending in flow_sends (id 7)", accepted: 1, wamid: true},
		{name: "interrupted", fail: simulate.FailNot, interrupt: true, state: "failed", why: "unreachable", err: "nothing was sent: context canceled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := &fakeRegister{fail: c.registerFails}
			l.state.Store("none")
			var before atomic.Value
			fake, err := simulate.NewKapso(simulate.KapsoConfig{Fail: []simulate.Failure{c.fail}, OnSend: func(simulate.KapsoSend) { before.Store(l.state.Load()) }})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(fake)
			t.Cleanup(server.Close)
			client, err := kapso.New(server.URL+simulate.KapsoPath, testAPIKey)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(client.Close)
			r, m, err := loopMessage(2)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.interrupt {
				cancel()
			}
			wamid, err := sendRegistered(ctx, l, client, r, m)
			if (wamid != "") != c.wamid || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %v", wamid, err)
			}
			if c.state == "sent" {
				c.why = wamid
			}
			if l.state.Load() != c.state || l.why != c.why || fake.Report().Messages != c.accepted || c.accepted == 1 && before.Load() != "pending" {
				t.Errorf("%s (%s), %+v, before the call %q", l.state.Load(), l.why, fake.Report(), before.Load())
			}
			if l.sent.FlowID != loopFlow || l.sent.FlowToken != "order-2" || string(l.sent.Context) != `{"order":2}` {
				t.Errorf("%+v", l.sent)
			}
		})
	}
}
