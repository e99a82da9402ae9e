package flows

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"unicode/utf8"
)

func BenchmarkReadAnswers(b *testing.B) {
	text := []byte(`{"notes": "Please call before 10:00 & ring twice <front door>", "reminder": true, "services": ["0_Cut_&_style", "2_Manicure"], "flow_token": "1197715005513101", "appointment_date": "2026-02-01", "appointment_time": "09:00", "screen_0_Email_1": "ana@example.com", "screen_0_Full_name_0": "Ana"}`)
	b.ReportAllocs()
	for b.Loop() {
		readAnswers(text)
	}
}

// Cutting finds the same keys and kinds as decoding, and panics on nothing.
func FuzzReadAnswers(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1}`, ` { "a" : [ 1 , {"b":"]}"} ] , "\u0061" : "\"" , "c\\" : null } `, `[1]`, `{"a":{"b":[{}]},"":""}`, `{"a":"\\","b":-1e5}`, `"x"`, `{"a"`, `{"a":`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		answers, more, list := readAnswers(text)
		var want map[string]json.RawMessage
		if more || !utf8.Valid(text) || !json.Valid(text) || json.Unmarshal(text, &want) != nil || want == nil {
			return
		}
		got := map[string]string{}
		for _, a := range answers {
			got[a.key] = fmt.Sprint(a.kind)
		}
		if list || len(got) != len(want) {
			t.Fatalf("list %v, keys %q, want %q", list, slices.Collect(maps.Keys(got)), slices.Collect(maps.Keys(want)))
		}
		for key, value := range want {
			if kind, _ := classify(value); got[key] != fmt.Sprint(kind) {
				t.Fatalf("%q: %s, want %v", key, got[key], kind)
			}
		}
	})
}
