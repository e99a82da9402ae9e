package flowparse

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestParse_Tokens(t *testing.T) {
	t.Parallel()
	known := New([]string{" 12345 ", "", "1197715005513101"})
	guess := New([]string{"", " "})
	tests := []struct {
		name   string
		parser *Parser
		token  string // a JSON value
		kind   TokenKind
		source FlowIDSource
	}{
		{"known", known, `"12345"`, TokenFlowID, FlowFromKnownFlow},
		{"known number", known, `12345`, TokenFlowID, FlowFromKnownFlow},
		{"flow-like but not known", known, `"1197715005513102"`, TokenCustom, ""},
		{"known with a space", known, `"12345 "`, TokenCustom, ""},
		{"known parser, unused", known, `"unused"`, TokenNone, ""},
		{"14 digits", guess, `"11977150055131"`, TokenCustom, ""},
		{"15 digits", guess, `"119771500551310"`, TokenFlowID, FlowFromTokenShape},
		{"17 digits", guess, `"11977150055131012"`, TokenFlowID, FlowFromTokenShape},
		{"18 digits", guess, `"119771500551310123"`, TokenCustom, ""},
		{"own number", guess, `"155512345678901"`, TokenCustom, ""},
		{"minus", guess, `-119771500551310`, TokenCustom, ""},
		{"exponent", guess, `1.197715005513e15`, TokenCustom, ""},
		{"Unused is a custom token", guess, `"Unused"`, TokenCustom, ""},
		{"empty", guess, `""`, TokenNone, ""},
		{"null", guess, `null`, TokenNone, ""},
		{"object", guess, `{"a":1}`, TokenNone, ""},
		{"bool", guess, `true`, TokenNone, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			body := `{"message":{"from":"+1 (555) 123-45678901","interactive":{"nfm_reply":{"response_json":{"flow_token":` + tt.token + `}}}}}`
			r := tt.parser.Parse(Input{Body: []byte(body)}).Responses[0]
			if r.TokenKind != tt.kind || r.FlowIDSource != tt.source {
				t.Errorf("kind %q, source %q; want %q, %q", r.TokenKind, r.FlowIDSource, tt.kind, tt.source)
			}
			if isFlow := r.TokenKind == TokenFlowID; isFlow != (r.FlowID != "") || isFlow && r.FlowID != *r.FlowToken {
				t.Errorf("flow id %q of token %v", r.FlowID, r.FlowToken)
			}
		})
	}
}

func TestFindToken(t *testing.T) {
	t.Parallel()
	tests := []struct {
		answers, kapso string
		want           string // "-" means nil
	}{
		{`"a"`, `"b"`, "a"},
		{`""`, `"b"`, "b"},
		{`null`, `"b"`, "b"},
		{``, `17`, "17"},
		{`""`, ``, ""},
		{``, `""`, ""},
		{``, ``, "-"},
		{`[]`, `false`, "-"},
		{`"unused"`, `"b"`, "unused"},
	}
	for _, tt := range tests {
		got := "-"
		if s := findToken([]byte(tt.answers), []byte(tt.kapso)); s != nil {
			got = *s
		}
		if got != tt.want {
			t.Errorf("findToken(%s, %s) = %q, want %q", tt.answers, tt.kapso, got, tt.want)
		}
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	day := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		text string
		want time.Time
	}{
		{"1704067200", day},
		{" 1704067200 ", day},
		{"1704067200.25", day.Add(250 * time.Millisecond)},
		{"1704067200.0", day},
		{"1704067200.1234567891", day.Add(123456789)},
		{"1704067200123", day.Add(123 * time.Millisecond)},
		{"1704067200123.5", day.Add(123*time.Millisecond + 500*time.Microsecond)},
		{"1704067200123456", day.Add(123456 * time.Microsecond)},
		{"999999999999", time.Unix(999999999999, 0)}, // seconds up to here: year 33658
		{"1000000000000", time.UnixMilli(1000000000000)},
		{"1000000000000000", time.UnixMicro(1000000000000000)},
		{"2024-01-01T00:00:00Z", day},
		{"2024-01-01t00:00:00z", day},
		{"2024-01-01T00:00:00.000001Z", day.Add(time.Microsecond)},
		{"2024-01-01T05:30:00+05:30", day},
		{"2024-01-01T05:30:00+0530", day},
		{"2023-12-31T19:00:00-05", day},
		{"2024-01-01T00:00:00", day},
		{"2024-01-01T00:00", day},
		{"2024-01-01 00:00:00 UTC", day},
		{"2024-01-01 01:00:00 +0100", day},
		{"2024-01-01 00:00:00.5", day.Add(500 * time.Millisecond)},
		{"1970-01-01T00:00:00Z", time.Unix(0, 0)},
		{"9999-12-31T23:59:59Z", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
		{"9999-12-31T23:59:59-01:00", time.Time{}},
		{"1970-01-01T00:00:00+01:00", time.Time{}},
		{"1969-12-31T23:59:59Z", time.Time{}},
		{"0", time.Time{}},
		{"-1", time.Time{}},
		{"1.7e9", time.Time{}},
		{"1704067200.", day},
		{"1704067200.x", time.Time{}},
		{"9999999999999999999", time.Time{}},
		{"999999999999999999", time.Time{}},
		{"2024-13-01T00:00:00Z", time.Time{}},
		{"2024-01-01", time.Time{}},
		{"           UTC     ", time.Time{}},
		{"2024-            UTC", time.Time{}},
		{"soon", time.Time{}},
		{"", time.Time{}},
		{strings.Repeat("1", 100), time.Time{}},
	}
	for _, tt := range tests {
		want := tt.want.UTC()
		if want.Year() > lastYear {
			want = time.Time{}
		}
		if got := parseTime(tt.text); !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("parseTime(%q) = %v, want %v", tt.text, got, want)
		}
	}
}

func TestPhoneDigits(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		`"15551234567"`:                     "15551234567",
		`"+1 (555) 123-4567"`:               "15551234567",
		`15551234567`:                       "15551234567",
		`"US.13491208655302741918"`:         "",
		`1.5e10`:                            "",
		`""`:                                "",
		`null`:                              "",
		`{"a":"1"}`:                         "",
		``:                                  "",
		`"` + strings.Repeat("1", 32) + `"`: strings.Repeat("1", 32),
		`"` + strings.Repeat("1", 33) + `"`: "",
		`"\u0031\u0035"`:                    "15",
	}
	for token, want := range tests {
		if got := phoneDigits([]byte(token)); got != want {
			t.Errorf("phoneDigits(%s) = %q, want %q", token, got, want)
		}
	}
}

func TestMessageKey_KeepsDifferentIDsApart(t *testing.T) {
	t.Parallel()
	ids := []string{`"a\ud800"`, `"a\ud801"`, `"a\ufffd"`, "\"a\xff\"", "\"a\xfe\"", `"a\u0000"`, `"a"`, `17`}
	seen := map[string]string{}
	for _, id := range ids {
		key := messageKey([]byte(id), []byte("raw"))
		if other, taken := seen[key]; taken {
			t.Errorf("%s and %s both have the key %q", id, other, key)
		}
		seen[key] = id
	}
	if got, want := messageKey([]byte(`"`+strings.Repeat("w", 513)+`"`), nil), hashKey(bytes.Repeat([]byte("w"), 513)); got != want {
		t.Errorf("long id has the key %q, want %q", got, want)
	}
}

func TestParse_KeepsABodyOfTooManyItemsWhole(t *testing.T) {
	t.Parallel()
	const item = `{"message":{"id":"m","interactive":{"nfm_reply":{"response_json":"{}"}}}},`
	for n, wantRejects := range map[int]int{maxKept: 0, maxKept + 1: 1} {
		items := strings.Repeat(item, n)
		body := []byte(`{"data":[` + items + `{"message":{"type":"text"}}]}`)
		d := New(nil).Parse(Input{Body: body})
		if len(d.Rejects) != wantRejects || len(d.Responses) != n*(1-wantRejects) || d.Ignored != 1-wantRejects {
			t.Errorf("%d items: %d responses, %d rejects, %d ignored", n, len(d.Responses), len(d.Rejects), d.Ignored)
		}
		if wantRejects == 1 && !bytes.Equal(d.Rejects[0].Body, body) {
			t.Error("the reject is not the whole body")
		}
	}
}

func TestParse_AliasesTheBody(t *testing.T) {
	t.Parallel()
	body := batchOf50(t)
	for _, r := range New(nil).Parse(Input{Body: body}).Responses {
		if cap(r.Raw) != len(r.Raw) {
			t.Fatal("appending to Raw would write into the body")
		}
	}
}

func TestParse_CleansTheHeaders(t *testing.T) {
	t.Parallel()
	d := New(nil).Parse(Input{Body: []byte(`{}`), Event: "a\xff", IdempotencyKey: "k\x00\xff"})
	if d.Event != "a\uFFFD" || d.IdempotencyKey != "k\uFFFD\uFFFD" || d.Ignored != 1 {
		t.Errorf("%+v", d)
	}
}
