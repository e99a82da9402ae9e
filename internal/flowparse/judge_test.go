package flowparse

import "testing"

func TestParse_WhatIsAResponse(t *testing.T) {
	t.Parallel()
	const nfm = `"nfm_reply":{"response_json":"{}"}`
	tests := []struct {
		name, message string
		want          verdict
	}{
		{"documented", `{"type":"interactive","interactive":{"type":"nfm_reply",` + nfm + `}}`, flowResponse},
		{"no message type", `{"interactive":{"type":"nfm_reply",` + nfm + `}}`, flowResponse},
		{"another message type", `{"type":"text","interactive":{"type":"nfm_reply",` + nfm + `}}`, flowResponse},
		{"no interactive type", `{"interactive":{` + nfm + `}}`, flowResponse},
		{"empty interactive type", `{"interactive":{"type":"",` + nfm + `}}`, flowResponse},
		{"null interactive type", `{"interactive":{"type":null,` + nfm + `}}`, flowResponse},
		{"inbound", `{"direction":"inbound","interactive":{"type":"nfm_reply",` + nfm + `}}`, flowResponse},
		{"v1 content", `{"message_type":"interactive","content":{"type":"nfm_reply",` + nfm + `}}`, flowResponse},
		{"v1 content when interactive is empty", `{"message_type":"interactive","interactive":{},"content":{` + nfm + `}}`, flowResponse},
		{"v1 content in a string", `{"message_type":"interactive","content":"{\"nfm_reply\":{\"response_json\":\"{}\"}}"}`, flowResponse},
		{"named after the reply", `{"type":"nfm_reply","content":{` + nfm + `}}`, flowResponse},
		{"another type wins over a reply in it", `{"interactive":{"type":"button_reply",` + nfm + `}}`, notOurs},
		{"type in another case", `{"interactive":{"type":"NFM_REPLY",` + nfm + `}}`, notOurs},
		{"outbound", `{"direction":"outbound","interactive":{"type":"nfm_reply",` + nfm + `}}`, notOurs},
		{"outbound at Kapso", `{"kapso":{"direction":"outbound"},"interactive":{"type":"nfm_reply",` + nfm + `}}`, notOurs},
		{"content that was typed", `{"type":"text","content":"{\"nfm_reply\":{\"response_json\":\"{}\"}}"}`, notOurs},
		{"content object of a text", `{"type":"text","content":{` + nfm + `}}`, notOurs},
		{"text", `{"type":"text"}`, notOurs},
		{"only an id", `{"id":"wamid.1"}`, notOurs},
		{"only a number for an id", `{"id":1}`, notOurs},
		{"only content", `{"content":"x"}`, notOurs},
		{"a Flow that was sent", `{"type":"interactive","interactive":{"type":"flow"}}`, notOurs},
		{"nothing", `{}`, unreadable},
		{"nulls", `{"id":null,"type":null,"interactive":null}`, unreadable},
		{"empty id", `{"id":""}`, unreadable},
		{"interactive, but nothing shows which", `{"id":"1","type":"interactive"}`, unreadable},
		{"interactive is text", `{"id":"1","interactive":"x"}`, unreadable},
		{"interactive is empty", `{"id":"1","interactive":{}}`, unreadable},
		{"interactive of v1 with a title", `{"id":"1","message_type":"interactive","content":"Book now"}`, unreadable},
		{"a reply that is no object", `{"id":"1","interactive":{"nfm_reply":"x"}}`, unreadable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := New(nil).Parse(Input{Body: []byte(`{"message":` + tt.message + `}`)})
			got := [...]int{unreadable: len(d.Rejects), notOurs: d.Ignored, flowResponse: len(d.Responses)}
			var want [3]int
			want[tt.want] = 1
			if got != want {
				t.Errorf("rejects, ignored, responses = %v, want %v", got, want)
			}
		})
	}
}

func TestParse_EventPrecedence(t *testing.T) {
	t.Parallel()
	const other = "whatsapp.message.sent"
	tests := []struct {
		name, members, header string
		ignored               bool
	}{
		{"none", ``, "", false},
		{"header", ``, messageReceived, false},
		{"other header", ``, other, true},
		{"event over header", `"event":"whatsapp.message.received",`, other, false},
		{"other event over header", `"event":"order.paid",`, messageReceived, true},
		{"event over type", `"event":"whatsapp.message.received","type":"whatsapp.message.sent",`, other, false},
		{"type over header", `"type":"whatsapp.message.received",`, other, false},
		{"other type over header", `"type":"whatsapp.message.sent",`, messageReceived, true},
		{"type that is no event", `"type":"interactive",`, other, true},
		{"type that is no event, no header", `"type":"interactive",`, "", false},
		{"empty event, type", `"event":"","type":"whatsapp.message.sent",`, messageReceived, true},
		{"null event", `"event":null,`, other, true},
		{"event of the wrong kind", `"event":{"name":"x"},`, messageReceived, false},
		{"last of equal keys", `"event":"x","event":"whatsapp.message.received",`, "", false},
		{"escaped", `"event":"whatsapp\u002emessage.received",`, other, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const message = `"message":{"interactive":{"nfm_reply":{"response_json":"{}"}}}`
			for _, body := range []string{
				`{` + tt.members + message + `}`,
				`{` + tt.members + `"payload":{` + message + `}}`,
				`{` + tt.members + `"data":[{` + message + `}]}`,
			} {
				d := New(nil).Parse(Input{Body: []byte(body), Event: tt.header})
				if (d.Ignored == 1) != tt.ignored || d.Ignored+len(d.Responses) != 1 {
					t.Errorf("%s: %d ignored, %d responses", body, d.Ignored, len(d.Responses))
				}
			}
		})
	}
}

func TestParse_InnerEventWins(t *testing.T) {
	t.Parallel()
	const message = `"message":{"interactive":{"nfm_reply":{"response_json":"{}"}}}`
	for body, ignored := range map[string]int{
		`{"event":"x","data":{"event":"whatsapp.message.received",` + message + `}}`:   0,
		`{"event":"whatsapp.message.received","data":{"event":"x",` + message + `}}`:   1,
		`{"event":"x","data":[{"event":"whatsapp.message.received",` + message + `}]}`: 0,
		`{"event":"whatsapp.message.received","data":[{"event":"x",` + message + `}]}`: 1,
	} {
		if d := New(nil).Parse(Input{Body: []byte(body)}); d.Ignored != ignored || len(d.Responses) != 1-ignored {
			t.Errorf("%s: %d ignored, %d responses", body, d.Ignored, len(d.Responses))
		}
	}
}
