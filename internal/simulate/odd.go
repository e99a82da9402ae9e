package simulate

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
)

// oddCase is an odd payload. Each is answered 200; what a case leaves out is as
// in a well-formed Flow response that is stored.
type oddCase struct {
	name   string
	file   string   // the envelope's file, default response.json …
	edits  []string // … with these replacements, old and new in turn …
	body   string   // … or the body's own text
	sent   string   // the answers
	stored string   // what the row must hold, if not the answers
	token  string   // the flow token, if not a flow's id; "-" if none is sent
	status string   // the row's response_status if not ok

	reason  string // the word of quarantine
	ignored bool
	second  Item // a second item that the body's text holds

	key    func(id string, raw []byte) string // the row's key if not the id
	header map[string]string                  // other headers; an empty value removes one
	loose  bool                               // signature in upper case with a prefix

	envelope, sentJSON, storedJSON template
}

const plainAnswers = `{"flow_token":"{{token}}","date":"2026-02-14","topics":["a","b"]}`

// oddCases lists them all. The facts behind them are those that a receiver has
// to bear although the provider's pages do not show them.
func oddCases() []oddCase {
	const fallback = `"flow_response":{"flow_token":"{{token}}","from":"kapso"}`
	return concat(answerCases(), []oddCase{
		{name: "response_json_object", edits: []string{`{{answers_string}}`, `{{answers}}`}},
		{name: "response_json_twice_encoded", edits: []string{`{{answers_string}}`, `{{answers_twice}}`}},
		{name: "response_json_array", sent: `["a",1,null]`, token: "-", edits: []string{`"{{token}}"`, `null`}},
		{
			name: "response_json_scalar", sent: `42`, token: "-", reason: "bad_response_json",
			edits: []string{`"flow_response":{{answers}},"flow_token":"{{token}}",`, ``},
		},
		{
			name: "response_json_broken", reason: "bad_response_json",
			edits: []string{
				`{{answers_string}}`, `"{\"flow_token\":"`,
				`"flow_response":{{answers}},"flow_token":"{{token}}",`, ``,
			},
		},
		{
			name: "response_json_broken_fallback", status: "fallback",
			stored: `{"flow_token":"{{token}}","from":"kapso"}`,
			edits:  []string{`{{answers_string}}`, `"{broken"`, `"flow_response":{{answers}}`, fallback},
		},
		{
			name: "flow_response_disagrees", edits: []string{`"flow_response":{{answers}}`, fallback},
		},
	}, identityCases(), envelopeCases())
}

// answerCases are odd within the answers.
func answerCases() []oddCase {
	noToken := []string{`"flow_token":"{{token}}"`, `"flow_token":null`}
	return []oddCase{
		{
			name: "answer_nul", status: "sanitized", sent: `{"flow_token":"{{token}}","note":"a\u0000b"}`,
			stored: `{"flow_token":"{{token}}","note":"a` + "\uFFFD" + `b"}`,
		},
		{
			name: "answer_lone_surrogate", status: "sanitized", sent: `{"flow_token":"{{token}}","note":"a\ud800b"}`,
			stored: `{"flow_token":"{{token}}","note":"a` + "\uFFFD" + `b"}`,
		},
		{
			name: "answer_bad_utf8", status: "sanitized", sent: `{"flow_token":"{{token}}","note":"caf` + "\xe9" + `"}`,
			stored: `{"flow_token":"{{token}}","note":"caf` + "\uFFFD" + `"}`,
		},
		{
			name: "answer_number_too_large", status: "sanitized", sent: `{"flow_token":"{{token}}","n":1e400000}`,
			stored: `{"flow_token":"{{token}}","n":"1e400000"}`,
		},
		{name: "answer_exact_numbers", sent: `{"flow_token":"{{token}}","n":9007199254740993,"d":0.1000}`},
		{name: "answer_deep", sent: `{"flow_token":"{{token}}","deep":` + strings.Repeat(`[`, 200) + strings.Repeat(`]`, 200) + `}`},
		{name: "answer_long", sent: `{"flow_token":"{{token}}","essay":"` + strings.Repeat("long ", 8_000) + `"}`},
		{name: "answer_strange_keys", sent: `{"flow_token":"{{token}}","":1,"clé à vélo":{"…":[]},"a.b$c":null}`},
		{name: "token_missing", token: "-", sent: `{"answer":"yes"}`, edits: noToken},
		{name: "token_unused", token: "unused"},
		{name: "token_long", token: strings.Repeat("t", 3000)},
		{name: "token_literal_template", token: "${user}"},
	}
}

// identityCases are odd in who sent it and under which id.
func identityCases() []oddCase {
	return []oddCase{
		{name: "id_missing", edits: []string{`"id":"{{id}}",`, ``}, key: keyOfBytes},
		{name: "id_long", edits: []string{`{{id}}`, `{{id}}` + longIDTail()}, key: keyOfLongID},
		{name: "phone_missing", edits: []string{`"from":"{{from}}",`, ``, `"phone_number":"+{{from}}",`, ``}},
		{name: "name_bad_utf8", edits: []string{`"{{name}}"`, "\"Jos\xe9\""}},
		{name: "timestamp_number", edits: []string{`"{{unix}}"`, `{{unix}}`}},
		{name: "address_message", edits: []string{`"name":"flow"`, `"name":"address_message"`}},
		{name: "outbound", ignored: true, edits: []string{`"direction":"inbound"`, `"direction":"outbound"`}},
	}
}

// envelopeCases are odd in what surrounds the message.
func envelopeCases() []oddCase {
	batch := func(rest string) []string {
		return []string{`{"message":`, `{"batch":true,"data":[{{item}}{"message":`, `"phone_number_id":"{{number_id}}"}`, `"phone_number_id":"{{number_id}}"}{{/item}}` + rest}
	}
	quarantined := func(raw string) Item {
		return Item{Kind: KindOdd, Outcome: Quarantined, Reason: "unknown_shape", Raw: []byte(raw)}
	}
	return []oddCase{
		{name: "meta_shape", file: "meta.json", header: map[string]string{"X-Webhook-Event": "", "X-Webhook-Payload-Version": ""}},
		{name: "v1_shape", file: "v1.json", header: map[string]string{"X-Webhook-Payload-Version": "v1"}},
		{
			name: "wrapped_in_data", header: map[string]string{"X-Webhook-Event": ""}, edits: []string{
				`{"message":`, `{"event":"whatsapp.message.received","data":{"message":`,
				`"phone_number_id":"{{number_id}}"}`, `"phone_number_id":"{{number_id}}"}}`,
			},
		},
		{name: "batch_without_headers", edits: batch(`]}`)},
		{name: "batch_with_scalar", edits: batch(`,42]}`), second: quarantined("42")},
		{name: "headers_missing", header: map[string]string{
			"X-Webhook-Event": "", "X-Webhook-Payload-Version": "", "X-Idempotency-Key": "", "Content-Type": "text/plain",
		}},
		{name: "signature_prefixed", loose: true},
		{name: "not_json", body: `{"message":{"id":"{{id}}","from":`, reason: "not_json"},
		{name: "no_message", body: `{"test":true,"webhook":"{{uuid}}"}`, reason: "unknown_shape"},
	}
}

func concat(lists ...[]oddCase) []oddCase {
	var all []oddCase
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func longIDTail() string { return strings.Repeat("=", 600) }

func keyOfBytes(_ string, raw []byte) string { return hashKey(raw) }

func keyOfLongID(id string, _ []byte) string { return hashKey([]byte(id + longIDTail())) }

func hashKey(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (t *Traffic) makeOdd(s *Sent, p *person, r *random) {
	c := &t.odd[r.below(len(t.odd))]
	m := t.newMessage(s.Index, 0, p, r)
	item := Item{Kind: KindOdd, Outcome: Stored, Status: c.status, Reason: c.reason}
	switch c.token {
	case "":
		m.token = t.forms[r.below(len(t.forms))].flowID
	case "-":
	default:
		m.token = c.token
	}
	m.answers = m.append(nil, c.sentJSON)
	s.Body = m.appendItem(nil, c.envelope)
	item.Raw = s.Body[m.itemFrom:m.itemTo:m.itemTo]
	item.Token, item.MessageID = m.token, m.id
	if c.key != nil {
		item.MessageID = c.key(m.id, item.Raw)
	}
	switch {
	case c.reason != "":
		item.Outcome = Quarantined
	case c.ignored:
		item.Outcome = Ignored
	default:
		item.Answers = m.append(nil, c.storedJSON)
	}
	s.Case, s.Items, s.looseSignature = c.name, []Item{item}, c.loose
	if c.second.Outcome != "" {
		s.Items = append(s.Items, c.second)
	}
	s.Header = newHeader(eventReceived, r)
	c.changeHeader(s.Header, s.Body)
}

func (c *oddCase) changeHeader(h http.Header, body []byte) {
	for name, value := range c.header {
		if value == "" {
			h.Del(name)
		} else {
			h.Set(name, value)
		}
	}
	if c.file == "meta.json" { // forwarded by Kapso with the body's hash for a key
		sum := sha256.Sum256(body)
		h.Set("X-Idempotency-Key", hex.EncodeToString(sum[:]))
	}
}
