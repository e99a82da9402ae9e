package flowparse

import (
	"bytes"
	"reflect"
	"testing"
)

func TestEnvelope_ReadsAloneAsInItsDelivery(t *testing.T) {
	t.Parallel()
	p := New(nil)
	for _, s := range readCorpus(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			checkEnvelopes(t, p, s.in)
		})
	}
}

// checkEnvelopes parses each item of a delivery alone, without an event hint and
// with that of the delivery.
func checkEnvelopes(t *testing.T, p *Parser, in Input) {
	t.Helper()
	d := p.Parse(in)
	for _, event := range []string{"", in.Event} {
		alone := in
		alone.Event = event
		for _, r := range d.Responses {
			alone.Body = r.Envelope()
			got := p.Parse(alone)
			if len(got.Responses) != 1 || len(got.Rejects) != 0 || got.Ignored != 0 || got.Source != d.Source {
				t.Fatalf("event %q: envelope %q gives %+v", event, alone.Body, got)
			}
			if again := got.Responses[0]; !sameResponse(again, r) {
				t.Fatalf("event %q: envelope gives\n%+v, want\n%+v", event, again, r)
			}
		}
		for _, s := range d.Statuses {
			alone.Body = s.Envelope()
			if got := p.Parse(alone); got.Ignored != 1 || len(got.Statuses) != 1 || got.Statuses[0] != s {
				t.Fatalf("event %q: envelope %q gives\n%+v, want\n%+v", event, alone.Body, got.Statuses, s)
			}
		}
		for _, r := range d.Rejects {
			alone.Body = r.Body
			got := p.Parse(alone)
			if len(got.Responses) != 0 || len(got.Rejects) != 1 || got.Ignored != 0 {
				t.Fatalf("event %q: reject body %q gives %+v", event, alone.Body, got)
			}
			if got.Rejects[0].Reason != r.Reason || got.Source != d.Source && r.Reason != ReasonNotJSON {
				t.Fatalf("event %q: reject body gives %+v, want %+v", event, got, r)
			}
		}
	}
}

// sameResponse compares all but the frame, which an item alone may not need.
func sameResponse(a, b Response) bool {
	a.frame, b.frame = frame{}, frame{}
	return reflect.DeepEqual(a, b)
}

func TestEnvelope_Kapso(t *testing.T) {
	t.Parallel()
	body := readPayload(t, "kapso_single_full")
	r := New(nil).Parse(Input{Body: body}).Responses[0]
	if !bytes.Equal(r.Envelope(), body) {
		t.Errorf("envelope %q is not the body", r.Envelope())
	}
}

func TestEnvelope_MetaIsMinimal(t *testing.T) {
	t.Parallel()
	body := `{"object":"whatsapp_business_account","entry":[{"time":1,"id":"1","changes":[{"field":"messages","value":{
		"messaging_product":"whatsapp","metadata":{"phone_number_id": "2"},
		"contacts":[{"wa_id":"3","profile":{"name":"A"}},{"wa_id":"4", "profile":{"name":"B"}}],
		"statuses":[{"id":"x"}],
		"messages":[{"id":"m","from":"4" ,"interactive":{"nfm_reply":{"response_json":"{}"}}}, {"id":"n"}]}}]}]}`
	want := `{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{` +
		`"metadata":{"phone_number_id": "2"},"contacts":[{"wa_id":"4", "profile":{"name":"B"}}],` +
		`"messages":[{"id":"m","from":"4" ,"interactive":{"nfm_reply":{"response_json":"{}"}}}]}}]}]}`
	d := New(nil).Parse(Input{Body: []byte(body)})
	if len(d.Responses) != 1 || d.Ignored != 2 {
		t.Fatalf("%+v", d)
	}
	if got := string(d.Responses[0].Envelope()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
