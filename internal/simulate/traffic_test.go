package simulate

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var (
	wamidForm  = regexp.MustCompile(`^wamid\.HBgL[A-Za-z0-9+/]+=?$`)
	flowIDForm = regexp.MustCompile(`^[0-9]{15,16}$`)
)

func newTraffic(t testing.TB, seed int64, batch int, mix Mix) *Traffic {
	t.Helper()
	traffic, err := NewTraffic(seed, batch, mix)
	if err != nil {
		t.Fatal(err)
	}
	return traffic
}

func TestTraffic_SameSeedSameBytes(t *testing.T) {
	t.Parallel()
	for _, batch := range []int{1, 5} {
		mix := Mix{Default: 3, Custom: 3, Other: 3, Duplicate: 3, Odd: 3}
		one, two := newTraffic(t, 7, batch, mix), newTraffic(t, 7, batch, mix)
		other := newTraffic(t, 8, batch, mix)
		for i := range int64(300) {
			a := one.Delivery(i)
			if !reflect.DeepEqual(a, two.Delivery(i)) {
				t.Fatalf("batch %d, delivery %d (%s %s) differs", batch, i, a.Kind, a.Case)
			}
			if bytes.Equal(a.Body, other.Delivery(i).Body) {
				t.Fatalf("batch %d, delivery %d: same body from another seed", batch, i)
			}
		}
	}
}

func TestTraffic_SeedZeroIsNewEachTime(t *testing.T) {
	t.Parallel()
	mix := Mix{Default: 1}
	if bytes.Equal(newTraffic(t, 0, 1, mix).Delivery(0).Body, newTraffic(t, 0, 1, mix).Delivery(0).Body) {
		t.Error("two runs start with the same body")
	}
}

func TestTraffic_IDsAreUnique(t *testing.T) {
	t.Parallel()
	traffic := newTraffic(t, 0, 3, Mix{Default: 1, Custom: 1, Other: 1})
	ids, keys := map[string]bool{}, map[string]bool{}
	for i := range int64(5000) {
		s := traffic.Delivery(i)
		keys[s.Header.Get("X-Idempotency-Key")] = true
		for _, item := range s.Items {
			if !wamidForm.MatchString(item.MessageID) {
				t.Fatalf("message id %q", item.MessageID)
			}
			ids[item.MessageID] = true
		}
	}
	if len(ids) != 15000 || len(keys) != 5000 {
		t.Errorf("%d ids and %d keys, want 15000 and 5000", len(ids), len(keys))
	}
}

// v2 is what a test reads of a Kapso message.
type v2 struct {
	Message struct {
		ID, From, Type, Timestamp string
		Interactive               struct {
			NFMReply struct {
				ResponseJSON string `json:"response_json"`
			} `json:"nfm_reply"`
		}
		Kapso struct {
			FlowResponse json.RawMessage `json:"flow_response"`
			FlowToken    string          `json:"flow_token"`
		}
	}
	Conversation  struct{ ID string }
	PhoneNumberID string `json:"phone_number_id"`
}

func checkResponse(t *testing.T, item Item) {
	t.Helper()
	var m v2
	if err := json.Unmarshal(item.Raw, &m); err != nil {
		t.Fatalf("%v in %s", err, item.Raw)
	}
	if m.Message.ID != item.MessageID || m.Message.Kapso.FlowToken != item.Token || m.Message.From[4:9] != "55501" {
		t.Errorf("id %q, token %q, from %q in %s", item.MessageID, item.Token, m.Message.From, item.Raw)
	}
	got := m.Message.Interactive.NFMReply.ResponseJSON
	if got != string(item.Answers) || string(m.Message.Kapso.FlowResponse) != got {
		t.Errorf("response_json %s, answers %s, flow_response %s", got, item.Answers, m.Message.Kapso.FlowResponse)
	}
	var answers map[string]any
	if err := json.Unmarshal(item.Answers, &answers); err != nil || answers["flow_token"] != item.Token {
		t.Errorf("answers %s (%v), want the token %s in them", item.Answers, err, item.Token)
	}
	if isFlowID := slices.Contains(FlowIDs(), item.Token); isFlowID != (item.Kind == KindDefault) {
		t.Errorf("kind %s has token %q", item.Kind, item.Token)
	}
	if flowIDForm.MatchString(item.Token) != (item.Kind == KindDefault) {
		t.Errorf("kind %s has token %q", item.Kind, item.Token)
	}
}

func TestTraffic_SinglesAreWhatTheySay(t *testing.T) {
	t.Parallel()
	traffic := newTraffic(t, 0, 1, Mix{Default: 3, Custom: 3, Other: 1})
	var size, replies int
	for i := range int64(2000) {
		s := traffic.Delivery(i)
		if !json.Valid(s.Body) || !utf8.Valid(s.Body) || len(s.Items) != 1 || !bytes.Equal(s.Items[0].Raw, s.Body) {
			t.Fatalf("delivery %d: %d items in %s", i, len(s.Items), s.Body)
		}
		if s.Kind == KindOther {
			if bytes.Contains(s.Body, []byte("nfm_reply")) || s.Items[0].Outcome != Ignored {
				t.Errorf("a Flow response among other messages: %s", s.Body)
			}
			continue
		}
		if s.Header.Get("X-Webhook-Event") != "whatsapp.message.received" {
			t.Errorf("event %q", s.Header.Get("X-Webhook-Event"))
		}
		checkResponse(t, s.Items[0])
		size, replies = size+len(s.Body), replies+1
	}
	if mean := size / replies; mean < 1500 || mean > 2300 {
		t.Errorf("a response has %d bytes on average", mean)
	}
}

func TestTraffic_BatchesAreWhatTheySay(t *testing.T) {
	t.Parallel()
	traffic := newTraffic(t, 0, 4, Mix{Default: 2, Custom: 2, Other: 1})
	kinds := map[Kind]int{}
	for i := range int64(500) {
		s := traffic.Delivery(i)
		var body struct {
			Type  string
			Batch bool
			Data  []json.RawMessage
			Info  struct{ Size int } `json:"batch_info"`
		}
		if err := json.Unmarshal(s.Body, &body); err != nil {
			t.Fatal(err)
		}
		if !body.Batch || len(body.Data) != 4 || body.Info.Size != 4 || s.Header.Get("X-Batch-Size") != "4" ||
			s.Header.Get("X-Webhook-Batch") != "true" || len(s.Items) != 4 {
			t.Fatalf("header %v, body %s", s.Header, s.Body)
		}
		for k, item := range s.Items {
			kinds[item.Kind]++
			if !bytes.Equal(item.Raw, body.Data[k]) {
				t.Fatalf("item %d is %s, want %s", k, item.Raw, body.Data[k])
			}
			if item.Kind != KindOther {
				checkResponse(t, item)
			}
		}
	}
	checkShares(t, kinds, map[Kind]float64{KindDefault: 0.4, KindCustom: 0.4, KindOther: 0.2})
}

func checkShares(t *testing.T, got map[Kind]int, want map[Kind]float64) {
	t.Helper()
	total := 0
	for n := range maps.Values(got) {
		total += n
	}
	for kind, share := range want {
		if math.Abs(float64(got[kind])/float64(total)-share) > 0.03 {
			t.Errorf("%d of %d are %s, want a share of %v", got[kind], total, kind, share)
		}
	}
}

func TestTraffic_MixProportions(t *testing.T) {
	t.Parallel()
	traffic := newTraffic(t, 11, 1, Mix{Default: 50, Custom: 20, Other: 10, Duplicate: 15, Odd: 5})
	kinds := map[Kind]int{}
	for i := range int64(5000) {
		kinds[traffic.Delivery(i).Kind]++
	}
	checkShares(t, kinds, map[Kind]float64{
		KindDefault: 0.5, KindCustom: 0.2, KindOther: 0.1, KindDuplicate: 0.15, KindOdd: 0.05,
	})
}

func TestTraffic_DuplicatesRepeatAnEarlierDelivery(t *testing.T) {
	t.Parallel()
	traffic := newTraffic(t, 5, 1, Mix{Default: 1, Odd: 1, Duplicate: 8})
	for i := range int64(1000) {
		s := traffic.Delivery(i)
		if s.Kind != KindDuplicate {
			if s.Original != i {
				t.Fatalf("delivery %d: original %d", i, s.Original)
			}
			continue
		}
		first := traffic.Delivery(s.Original)
		if s.Original >= i || first.Kind == KindDuplicate || !bytes.Equal(s.Body, first.Body) || s.Case != first.Case ||
			!reflect.DeepEqual(s.Header, first.Header) || !reflect.DeepEqual(s.Items, first.Items) {
			t.Fatalf("delivery %d does not repeat delivery %d", i, s.Original)
		}
		if want := first.Want(); s.Want().Duplicate != want.Stored || s.Want().Quarantined != want.Quarantined {
			t.Fatalf("delivery %d wants %+v, its original %+v", i, s.Want(), want)
		}
	}
}

func TestTraffic_OddPayloads(t *testing.T) {
	t.Parallel()
	traffic := newTraffic(t, 0, 1, Mix{Odd: 1})
	seen := map[string]Sent{}
	for i := range int64(2000) {
		s := traffic.Delivery(i)
		seen[s.Case] = s
	}
	if len(seen) != len(oddCases()) {
		t.Errorf("%d cases of %d were seen", len(seen), len(oddCases()))
	}
	for name, s := range seen {
		for _, item := range s.Items {
			known := item.Outcome == Stored || item.Outcome == Ignored || item.Outcome == Quarantined
			if !known || (item.Outcome == Quarantined) != (item.Reason != "") || (item.Outcome == Stored) != json.Valid(item.Answers) {
				t.Errorf("%s: outcome %q, reason %q, answers %s", name, item.Outcome, item.Reason, item.Answers)
			}
			if !bytes.Contains(s.Body, item.Raw) || len(item.Raw) == 0 {
				t.Errorf("%s: item %s is not in the body", name, item.Raw)
			}
		}
		if valid := json.Valid(s.Body); valid != (name != "not_json") {
			t.Errorf("%s: JSON %v: %s", name, valid, s.Body)
		}
	}
	if raw := seen["meta_shape"].Items[0].Raw; !strings.HasPrefix(string(raw), `{"context":`) || !json.Valid(raw) {
		t.Errorf("the item of a Meta body is %s", raw)
	}
	if id := seen["id_missing"].Items[0].MessageID; id != hashKey(seen["id_missing"].Body) {
		t.Errorf("a message without id has the key %s", id)
	}
	if got := seen["batch_with_scalar"].Want(); got != (Counts{Stored: 1, Quarantined: 1}) {
		t.Errorf("a batch with a scalar wants %+v", got)
	}
}

func TestTraffic_RefusesBadSettings(t *testing.T) {
	t.Parallel()
	if _, err := NewTraffic(1, 101, DefaultMix()); err == nil {
		t.Error("a batch of 101 is accepted")
	}
	if _, err := NewTraffic(1, 1, Mix{Duplicate: 1}); err == nil {
		t.Error("a mix of duplicates alone is accepted")
	}
}

func TestCompile_RefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"{{nobody}}", "{{id"} {
		if _, err := compile(text, nil); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
