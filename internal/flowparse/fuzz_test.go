package flowparse

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

func FuzzParse(f *testing.F) {
	for _, s := range readCorpus(f) {
		f.Add(s.in.Body, s.in.Event)
	}
	f.Fuzz(func(t *testing.T, body []byte, event string) {
		p := New(nil)
		in := Input{Body: body, Event: event, ReceivedAt: received}
		before := bytes.Clone(body)
		d := p.Parse(in)
		if !bytes.Equal(body, before) {
			t.Fatal("Parse wrote into the body")
		}
		if kept := len(d.Responses) + len(d.Rejects); kept > maxKept || kept+d.Ignored > len(body)+1 {
			t.Fatalf("%d kept and %d ignored items in %d bytes", kept, d.Ignored, len(body))
		}
		if len(d.Statuses) > d.Ignored {
			t.Fatalf("%d statuses of %d ignored items", len(d.Statuses), d.Ignored)
		}
		for _, r := range d.Responses {
			checkResponse(t, r)
		}
		for _, s := range d.Statuses {
			checkStatus(t, s)
		}
		checkEnvelopes(t, p, in)
	})
}

// checkResponse checks what Response promises of every value.
func checkResponse(t *testing.T, r Response) {
	t.Helper()
	if !json.Valid(r.Answers) || !utf8.Valid(r.Answers) || !isObject(r.Answers) && !isArray(r.Answers) {
		t.Fatalf("answers %q", r.Answers)
	}
	checkStrings(t, r.Answers)
	if again, changed := sanitize(r.Answers); changed {
		t.Fatalf("answers %q would change again to %q", r.Answers, again)
	}
	token := ""
	if r.FlowToken != nil {
		token = *r.FlowToken
	}
	for _, s := range []string{
		r.MessageID, token, r.FlowID, r.FlowName, r.PhoneNumberID, r.WaID, r.UserID, r.ContactName,
		r.ConversationID, r.ContextMessageID,
	} {
		if cleanText(s) != s {
			t.Fatalf("%q is not fit for a text column", s)
		}
	}
	if r.MessageID == "" || len(r.MessageID) > maxMessageID || len(r.WaID) > maxWaID || len(r.UserID) > maxUserID {
		t.Fatalf("message id %q, wa_id %q, user id %q", r.MessageID, r.WaID, r.UserID)
	}
	if y := r.SentAt.Year(); !r.SentAt.IsZero() && (y < firstYear || y > lastYear) {
		t.Fatalf("sent at %v", r.SentAt)
	}
	if (r.TokenKind == TokenFlowID) != (r.FlowID != "" && token == r.FlowID) || (r.FlowID != "") != (r.FlowIDSource != "") {
		t.Fatalf("token kind %q, flow id %q, source %q", r.TokenKind, r.FlowID, r.FlowIDSource)
	}
	if len(r.Raw) == 0 || !json.Valid(r.Raw) {
		t.Fatalf("raw %q", r.Raw)
	}
}

// checkStatus checks what SendStatus promises: flow_sends takes it.
func checkStatus(t *testing.T, s SendStatus) {
	t.Helper()
	for _, text := range []string{s.Wamid, s.Failure, s.PhoneNumberID, s.FlowID, s.FlowToken, s.Recipient, s.Template} {
		if cleanText(text) != text {
			t.Fatalf("%q is not fit for a text column", text)
		}
	}
	if s.Wamid == "" || len(s.Wamid) > maxMessageID || s.State == "" || len(s.FlowID) > maxSentFlow || len(s.FlowToken) > maxSentToken || len(s.Recipient) > maxSentOther {
		t.Fatalf("status %+v", s)
	}
	if s.Failure != "" && s.State != StateFailed || s.FlowID == "" && s.FlowToken+s.Recipient+s.Template != "" {
		t.Fatalf("status %+v", s)
	}
}

// checkStrings finds each string in valid JSON and decodes it.
func checkStrings(t *testing.T, v []byte) {
	t.Helper()
	for i := 0; i < len(v); {
		if v[i] != '"' {
			i++
			continue
		}
		end := skipString(v, i)
		if s := decodeString(v[i:end]); !utf8.Valid(s) || bytes.IndexByte(s, 0) >= 0 {
			t.Fatalf("jsonb refuses %q", v[i:end])
		}
		i = end
	}
}
