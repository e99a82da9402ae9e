package flowparse

import (
	"bytes"
	"fmt"
	"testing"
)

func BenchmarkParse(b *testing.B) {
	cases := []struct {
		name  string
		body  []byte
		items int
	}{
		{"small", readPayload(b, "kapso_single_full"), 1},
		{"batch50", batchOf50(b), 50},
		{"large", largeMeta(), 1000},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			p := New(nil)
			in := Input{Body: c.body, Event: messageReceived, ReceivedAt: received}
			if d := p.Parse(in); len(d.Responses) != c.items {
				b.Fatalf("%d responses, want %d", len(d.Responses), c.items)
			}
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				p.Parse(in)
			}
		})
	}
}

func batchOf50(tb testing.TB) []byte {
	tb.Helper()
	item := readPayload(tb, "kapso_single_full")
	items := bytes.Repeat(append(item, ','), 50)
	return append(append([]byte(`{"type":"whatsapp.message.received","batch":true,"data":[`), items[:len(items)-1]...), `]}`...)
}

// largeMeta is as large as Meta's bodies become: 1000 messages, 3 MB.
func largeMeta() []byte {
	var contacts, messages bytes.Buffer
	answers := `{\"flow_token\":\"1197715005513101\",\"notes\":\"` + string(bytes.Repeat([]byte("lorem ipsum "), 210)) + `\"}`
	for i := range 1000 {
		if i > 0 {
			contacts.WriteByte(',')
			messages.WriteByte(',')
		}
		fmt.Fprintf(&contacts, `{"profile":{"name":"Person %d"},"wa_id":"1555%07d"}`, i, i)
		fmt.Fprintf(&messages, `{"context":{"from":"15557654321","id":"wamid.out%d"},"from":"1555%07d","id":"wamid.in%d","timestamp":"1704067200",`+
			`"type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","body":"Sent","response_json":"%s"}}}`, i, i, i, answers)
	}
	return fmt.Appendf(nil, `{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{"messaging_product":"whatsapp",`+
		`"metadata":{"display_phone_number":"15557654321","phone_number_id":"647015955153740"},"contacts":[%s],"messages":[%s]}}]}]}`, contacts.Bytes(), messages.Bytes())
}
