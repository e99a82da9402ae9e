package flowparse

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestSanitize(t *testing.T) {
	t.Parallel()
	nines, zeros := strings.Repeat("9", 131072), strings.Repeat("0", 16383)
	tests := []struct{ name, in, want string }{
		{"nothing to change", `{"a":[1,-2.5e3,"x",true,null],"b":{}}`, `{"a":[1,-2.5e3,"x",true,null],"b":{}}`},
		{"nul", `["a\u0000b"]`, `["a\ufffdb"]`},
		{"nul in a key", `{"\u0000":1}`, `{"\ufffd":1}`},
		{"escaped backslash", `["\\u0000","\\\u0000"]`, `["\\u0000","\\\ufffd"]`},
		{"other controls", `["\u0001\u001f\u007f"]`, `["\u0001\u001f\u007f"]`},
		{"pair", `["\ud83d\ude4f","\uD83D\uDE4F"]`, `["\ud83d\ude4f","\uD83D\uDE4F"]`},
		{"lone high", `["\ud83d"]`, `["\ufffd"]`},
		{"lone high before text", `["\ud83dxxxxxx"]`, `["\ufffdxxxxxx"]`},
		{"lone high before an escape", `["\ud83d\u0041"]`, `["\ufffd\u0041"]`},
		{"lone high before a newline", `["\ud83d\n"]`, `["\ufffd\n"]`},
		{"lone low", `["\ude4f"]`, `["\ufffd"]`},
		{"two high and a low", `["\ud83d\ud83d\ude4f"]`, `["\ufffd\ud83d\ude4f"]`},
		{"non-characters", `["\ufffe\uffff"]`, `["\ufffe\uffff"]`},
		{"bad bytes", "[\"\xff\xc3\xa9\xc3\"]", "[\"\uFFFD\u00e9\uFFFD\"]"},
		{"encoded surrogate", "[\"\xed\xa0\xbdx\"]", "[\"\uFFFDx\"]"},
		{"overlong", "[\"\xc0\x80\"]", "[\"\uFFFD\uFFFD\"]"},
		{"beyond unicode", "[\"\xf4\x90\x80\x80\"]", "[\"\uFFFD\uFFFD\uFFFD\uFFFD\"]"},
		{"real replacement character", "[\"\uFFFD\"]", "[\"\uFFFD\"]"},
		{"most digits", `[` + nines + `]`, `[` + nines + `]`},
		{"one digit more", `[-1` + nines + `]`, `["-1` + nines + `"]`},
		{"most decimals", `[0.` + zeros + `]`, `[0.` + zeros + `]`},
		{"one decimal more", `[0.0` + zeros + `]`, `["0.0` + zeros + `"]`},
		{"numbers in strings", `{"1e999999":"1e999999"}`, `{"1e999999":"1e999999"}`},
		{"several", `{"a":1e999999,"b\u0000":[1e-99999,2]}`, `{"a":"1e999999","b\ufffd":["1e-99999",2]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := []byte(tt.in)
			got, changed := sanitize(in)
			if string(got) != tt.want || changed != (tt.in != tt.want) {
				t.Errorf("got %.80q, %v; want %.80q", got, changed, tt.want)
			}
			if !changed && &got[0] != &in[0] {
				t.Error("copied what did not change")
			}
			if !json.Valid(got) || string(in) != tt.in {
				t.Error("result is not JSON, or the input was written to")
			}
		})
	}
}

func TestNumericHolds(t *testing.T) {
	t.Parallel()
	zeros := strings.Repeat("0", 20000)
	tests := map[string]bool{
		"0":                            true,
		"-0":                           true,
		"-0.0E+0":                      true,
		"1e131071":                     true,
		"9.99e131071":                  true,
		"1e131072":                     false,
		"-1e131072":                    false,
		"10e131071":                    false,
		"0.1e131072":                   true,
		"0.1e131073":                   false,
		"0.0001e131075":                true,
		"0.0001e131076":                false,
		"1e-16383":                     true,
		"1e-16384":                     false,
		"1.0e-16383":                   false,
		"100e-16384":                   false,
		"0e-16383":                     true,
		"0e-16384":                     false,
		"0e999999999":                  true,
		"0e1073741822":                 true,
		"0e1073741823":                 false,
		"0e9999999999":                 false,
		"0e18446744073709551616":       false,
		"1e18446744073709551616":       false,
		"1e-18446744073709551616":      false,
		"0e-1073741823":                false,
		"1e00000000000000000000000005": true,
		"1E+5":                         true,
		"1" + zeros + "e-20000":        false, // the scale counts, not the value
		"1" + zeros + "e-16383":        true,
		"0." + zeros + "1e131071":      true,
		"0." + zeros + "1e10":          false,
		"0." + zeros + "0e20000":       true,
		"1." + zeros + "e131071":       true,
		"1" + zeros + "e111071":        true,
		"1" + zeros + "e111072":        false,
	}
	for number, want := range tests {
		if got := numericHolds([]byte(number)); got != want {
			t.Errorf("numericHolds(%.60s) = %v, want %v", number, got, want)
		}
	}
}

func TestReadAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, token, want string // want "" means none
		changed           bool
	}{
		{"string of an object", `"{\"a\":1}"`, `{"a":1}`, false},
		{"string of a list", `"[1]"`, `[1]`, false},
		{"object", `{"a":1}`, `{"a":1}`, false},
		{"list", `[ 1 ]`, `[ 1 ]`, false},
		{"spaces", `" \t\r\n{}\n"`, `{}`, false},
		{"twice encoded", `"\"{\\\"a\\\":1}\""`, `{"a":1}`, false},
		{"three times encoded", `"\"\\\"{}\\\"\""`, ``, false},
		{"unicode escapes", `"\u007b\u0022a\u0022:\u0022\ud83d\ude4f\u0022}"`, "{\"a\":\"\U0001F64F\"}", false},
		{"nul outside", `"{\"a\":\"\u0000\"}"`, "{\"a\":\"\uFFFD\"}", true},
		{"nul after the object", `"{}\u0000"`, ``, false},
		{"surrogate outside", `"{\"a\":\"\ud83d\"}"`, "{\"a\":\"\uFFFD\"}", true},
		{"halves of a pair at two levels", `"{\"a\":\"\ud83d\\ude4f\"}"`, "{\"a\":\"\uFFFD\\ufffd\"}", true},
		{"surrogate outside twice", `"\"{\\\"a\\\":\\\"\ud83d\\\"}\""`, "{\"a\":\"\uFFFD\"}", true},
		{"bad bytes", "\"{\\\"a\\\":\\\"\xff\\\"}\"", "{\"a\":\"\uFFFD\"}", true},
		{"number", `17`, ``, false},
		{"number in a string", `"17"`, ``, false},
		{"null", `null`, ``, false},
		{"true", `true`, ``, false},
		{"empty", `""`, ``, false},
		{"missing", ``, ``, false},
		{"broken", `"{"`, ``, false},
		{"two values", `"{}{}"`, ``, false},
		{"other white space", `"\u00a0{}"`, ``, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, changed := readAnswers([]byte(tt.token))
			if string(got) != tt.want || changed != tt.changed {
				t.Errorf("got %q, %v; want %q, %v", got, changed, tt.want, tt.changed)
			}
		})
	}
}

// The walker must see what encoding/json sees in a map, which matches keys
// exactly and lets the last of equal keys win.
func TestMembers_AgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	bodies := [][]byte{
		[]byte(`{}`), []byte(` { } `), []byte(`{"a":{},"b":[],"c":"","d":-1.5e+3,"e":null}`),
		[]byte("{\"a\" :\t[ 1 , {\"}\":\"]\\\"\"} ] ,\r\n\"a\\u0062\": \"\\\\\" , \"\":true}"),
		[]byte(`{"a":1,"A":2,"a":3}`), []byte(`{"\ud83d\ude4f\/\b\f\n\r\t\"\\":"x"}`),
	}
	for _, s := range readCorpus(t) {
		bodies = append(bodies, s.in.Body)
	}
	for _, body := range bodies {
		var want map[string]json.RawMessage
		if json.Unmarshal(body, &want) != nil {
			continue
		}
		got := map[string]json.RawMessage{}
		for m := members(trimSpace(body)); m.next(); {
			got[string(m.key)] = m.value
		}
		if len(got) != len(want) {
			t.Errorf("%d members, want %d, in %.80q", len(got), len(want), body)
		}
		for key, value := range want {
			if !bytes.Equal(got[key], value) {
				t.Errorf("member %q is %.80q, want %.80q", key, got[key], value)
			}
		}
	}
}
