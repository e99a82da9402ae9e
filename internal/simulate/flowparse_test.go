package simulate

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"flowkeep/internal/flowparse"
)

// What Traffic says of each item is what the parser reads in it: a difference
// is a fault of one of them.
func TestTraffic_SaysWhatTheParserReads(t *testing.T) {
	t.Parallel()
	for _, flowIDs := range [][]string{nil, FlowIDs()} {
		parser := flowparse.New(flowIDs)
		for _, batch := range []int{1, 4} {
			traffic := newTraffic(t, 0, batch, Mix{Default: 1, Custom: 1, Other: 1, Odd: 3})
			for i := range int64(1000) {
				s := traffic.Delivery(i)
				checkParsed(t, s, parser.Parse(flowparse.Input{Body: s.Body, Event: s.Header.Get("X-Webhook-Event")}))
			}
		}
	}
}

func checkParsed(t *testing.T, s Sent, d flowparse.Delivery) {
	t.Helper()
	got := Counts{Stored: int64(len(d.Responses)), Ignored: int64(d.Ignored), Quarantined: int64(len(d.Rejects))}
	if got != s.Want() {
		t.Fatalf("%s %s is read as %+v, want %+v:\n%.2000s", s.Kind, s.Case, got, s.Want(), s.Body)
	}
	for _, item := range s.Items {
		switch item.Outcome {
		case Stored:
			checkParsedItem(t, s.Case, item, d.Responses[0])
			d.Responses = d.Responses[1:]
		case Quarantined:
			if reason := string(d.Rejects[0].Reason); reason != item.Reason {
				t.Errorf("%s: reason %s, want %s", s.Case, reason, item.Reason)
			}
			d.Rejects = d.Rejects[1:]
		}
	}
}

func checkParsedItem(t *testing.T, name string, item Item, r flowparse.Response) {
	t.Helper()
	token, status := "", item.Status
	if r.FlowToken != nil {
		token = *r.FlowToken
	}
	if status == "" {
		status = "ok"
	}
	if r.MessageID != item.MessageID || token != item.Token || string(r.Status) != status || !bytes.Equal(r.Raw, item.Raw) {
		t.Errorf("%s %s: read as %s, token %.40q, status %s, raw %.2000s; want %s, %.40q, %s, %.2000s", item.Kind, name,
			r.MessageID, token, r.Status, r.Raw, item.MessageID, item.Token, status, item.Raw)
	}
	if isID := r.TokenKind == flowparse.TokenFlowID; item.Kind != KindOdd && isID != (item.Kind == KindDefault) {
		t.Errorf("%s: token %q is of the kind %s", item.Kind, token, r.TokenKind)
	}
	if !reflect.DeepEqual(exactJSON(t, r.Answers), exactJSON(t, item.Answers)) {
		t.Errorf("%s %s: answers %.2000s, want %.2000s", item.Kind, name, r.Answers, item.Answers)
	}
}

// exactJSON decodes without rounding numbers.
func exactJSON(t *testing.T, text []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Errorf("%v in %.2000s", err, text)
	}
	return v
}
