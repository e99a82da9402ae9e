package read_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"flowkeep/internal/store/read"
)

// ids follows the pages to the end and returns the ids in their order.
func ids(t *testing.T, d *desk, q read.Query) []string {
	t.Helper()
	list := []string{}
	for {
		page, err := d.reader.Page(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range page.Responses {
			var r struct {
				MessageID string `json:"message_id"`
			}
			if err := json.Unmarshal(object, &r); err != nil {
				t.Fatalf("%v in %s", err, object)
			}
			list = append(list, r.MessageID)
		}
		if len(page.Responses) > q.Limit || len(page.Responses) == 0 && page.Next != "" {
			t.Fatalf("a page of %d, the limit is %d", len(page.Responses), q.Limit)
		}
		if q.After = page.Next; q.After == "" {
			return list
		}
	}
}

// Pages of any size are the whole, in order, also where many rows have the same
// time, and ids hold whatever they hold.
func TestPage_EachResponseOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	type key struct {
		at time.Time
		id string
	}
	var keys []key
	for i := range 60 {
		k := key{day(1).Add(time.Duration(rand.IntN(4)) * time.Microsecond), fmt.Sprintf("wamid.%d/=+ %% é\n%d", rand.IntN(10), i)}
		keys = append(keys, k)
		d.store(row{id: k.id, flow: flowID, at: k.at})
	}
	slices.SortFunc(keys, func(a, b key) int {
		return 2*a.at.Compare(b.at) + strings.Compare(a.id, b.id)
	})
	var want []string
	for _, k := range keys {
		want = append(want, k.id)
	}
	for _, limit := range []int{1, 7, 60, 1000} {
		for _, q := range []read.Query{{}, {FlowID: flowID}, {FlowToken: flowID}, {WaID: "15551234567"}} {
			q.Limit, q.OldestFirst = limit, true
			if diff := cmp.Diff(want, ids(t, d, q)); diff != "" {
				t.Errorf("%+v: %s", q, diff)
			}
		}
		newest := slices.Clone(want)
		slices.Reverse(newest)
		if diff := cmp.Diff(newest, ids(t, d, read.Query{Limit: limit})); diff != "" {
			t.Errorf("newest first, %d: %s", limit, diff)
		}
	}
}

func TestPage_Filters(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	long := strings.Repeat("x", 300)
	d.store(row{id: "1", flow: flowID, at: day(1)}, row{id: "2", flow: "22", at: day(2)}, row{id: "3", token: "order", at: day(3)},
		row{id: "4", token: long + "a", at: day(4)}, row{id: "5", token: long + "b", at: day(5)}, row{id: "6", token: "'; DROP TABLE flow_responses; --", at: day(6)})
	d.exec(`UPDATE flow_responses SET user_id = 'US.1', wa_id = '1' WHERE message_id = '2'`)
	for _, c := range []struct {
		q    read.Query
		want string
	}{
		{read.Query{}, "6 5 4 3 2 1"},
		{read.Query{OldestFirst: true}, "1 2 3 4 5 6"},
		{read.Query{FlowID: flowID}, "1"},
		{read.Query{FlowID: "22", WaID: "1"}, "2"},
		{read.Query{FlowID: "22", WaID: "2"}, ""},
		{read.Query{FlowToken: "22"}, "2"},
		{read.Query{FlowToken: "order"}, "3"},
		{read.Query{FlowToken: long + "a"}, "4"},
		{read.Query{FlowToken: long}, ""},
		{read.Query{FlowToken: "'; DROP TABLE flow_responses; --"}, "6"},
		{read.Query{UserID: "US.1"}, "2"},
		{read.Query{UserID: "' OR true --"}, ""},
		{read.Query{Since: day(2), Until: day(4)}, "3 2"},
		{read.Query{FlowToken: "order", Since: day(4)}, ""},
	} {
		c.q.Limit = 2
		if got := strings.Join(ids(t, d, c.q), " "); got != c.want {
			t.Errorf("%+v: %s, want %s", c.q, got, c.want)
		}
	}
}

// A page of large responses is shorter, and has one at least.
func TestPage_IsBoundedInBytes(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	large := `{"text":"` + strings.Repeat("x", 700_000) + `"}`
	var want []string
	for i := range 5 {
		d.store(row{id: fmt.Sprint(i), at: day(i + 1), token: "t", answers: large})
		want = append(want, fmt.Sprint(i))
	}
	q := read.Query{Limit: 100, OldestFirst: true}
	page, err := d.reader.Page(t.Context(), q)
	if err != nil || len(page.Responses) != 2 {
		t.Errorf("%d responses, %v", len(page.Responses), err)
	}
	if diff := cmp.Diff(want, ids(t, d, q)); diff != "" {
		t.Error(diff)
	}
}

func TestPage_BadCursors(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	encode := base64.RawURLEncoding.EncodeToString
	for _, bad := range []string{
		"x", "====", "' OR 1=1", encode([]byte("short")), encode([]byte("12345678")), encode([]byte("\x7f2345678x")),
		encode([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff")), encode([]byte("\x00\x00\x00\x00\x00\x00\x00\x00a\x00")),
	} {
		if _, err := d.reader.Page(t.Context(), read.Query{Limit: 1, After: bad}); !errors.Is(err, read.ErrCursor) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestOne(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.store(row{id: "wamid.a/b=", flow: flowID})
	object, err := d.reader.One(t.Context(), "wamid.a/b=")
	if err != nil || string(object)+"\n" != written(t, d.reader.NDJSON, &read.Export{}) {
		t.Errorf("%v: %s", err, object)
	}
	if _, err := d.reader.One(t.Context(), "other"); !errors.Is(err, read.ErrNotFound) {
		t.Error(err)
	}
}

func TestFlows(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.store(row{id: "1", flow: flowID, answers: `{"n":1,"it's":null}`}, row{id: "2", flow: flowID, answers: `{"n":2}`}, row{id: "3", flow: "22"})
	d.sync()
	list, next, err := d.reader.Flows(t.Context(), "")
	if err != nil || next != "" || len(list) != 2 {
		t.Fatalf("%v %q %s", err, next, list)
	}
	var got map[string]any
	if err := json.Unmarshal(list[0], &got); err != nil {
		t.Fatal(err)
	}
	column := func(key, kind string, filled float64) any {
		return map[string]any{"key": key, "name": key, "type": kind, "filled": filled}
	}
	if diff := cmp.Diff(map[string]any{
		"id": flowID, "name": nil, "view": "flow_" + flowID, "answers": 2.0,
		"columns": []any{column("n", "numeric", 1), column("it's", "text", 0)},
	}, got); diff != "" {
		t.Error(diff)
	}
	d.exec(`INSERT INTO flow_catalog (id) SELECT 'x' || lpad(n::text, 4, '0') FROM generate_series(1, 600) AS n`)
	var seen int
	for after := ""; ; {
		list, next, err := d.reader.Flows(t.Context(), after)
		if err != nil || len(list) > read.MaxFlows {
			t.Fatal(len(list), err)
		}
		seen += len(list)
		if after = next; after == "" {
			break
		}
	}
	if seen != 602 {
		t.Errorf("%d flows", seen)
	}
}
