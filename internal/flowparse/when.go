package flowparse

import (
	"strings"
	"time"
)

// The years that a message can be from and that Go and Postgres both print.
const (
	firstYear = 1970
	lastYear  = 9999
)

// maxTimeText is longer than any time that parseTime understands.
const maxTimeText = 48

// A whole number at or above these is not seconds any more.
const (
	firstMillis = 1_000_000_000_000
	firstMicros = 1_000_000_000_000_000
)

// parseTime reads message.timestamp: unix seconds, milliseconds or
// microseconds, or ISO 8601. It is zero if the text is anything else, or 0.
func parseTime(s string) time.Time {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > maxTimeText {
		return time.Time{}
	}
	t, ok := parseUnix(s)
	if !ok {
		t = parseISO(s)
	}
	if t = t.UTC(); t.Year() < firstYear || t.Year() > lastYear {
		return time.Time{}
	}
	return t
}

// parseUnix reads a decimal number without an exponent. It counts in integers:
// a float64 has no room for microseconds.
func parseUnix(s string) (time.Time, bool) {
	whole, decimals, _ := strings.Cut(s, ".")
	n, ok := parseDigits(whole)
	if !ok || n == 0 {
		return time.Time{}, false
	}
	if len(decimals) > 9 {
		decimals = decimals[:9]
	}
	fraction, ok := parseDigits(decimals + "000000000"[len(decimals):])
	if !ok {
		return time.Time{}, false
	}
	switch {
	case n >= firstMicros:
		return time.UnixMicro(n), true
	case n >= firstMillis:
		return time.UnixMilli(n).Add(time.Duration(fraction / 1000)), true
	default:
		return time.Unix(n, fraction), true
	}
}

// parseDigits reads 1 to 18 ASCII digits, which always fit.
func parseDigits(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// parseISO reads the forms of ISO 8601 that come from Kapso's Ruby and from
// JavaScript; Go accepts a fraction of a second in each. Kapso uses an offset and
// microseconds in UTC side by side (kapso-facts.md, section 2). Without a zone it
// is UTC.
func parseISO(s string) time.Time {
	if len(s) < len("2006-01-02T15:04") || s[4] != '-' {
		return time.Time{}
	}
	if s[10] == ' ' || s[10] == 't' {
		s = s[:10] + "T" + s[11:]
	}
	if utc, found := strings.CutSuffix(s, " UTC"); found {
		s = utc
	}
	if zone := strings.LastIndexByte(s, ' '); zone > 0 {
		s = s[:zone] + s[zone+1:]
	}
	if s[len(s)-1] == 'z' {
		s = s[:len(s)-1] + "Z"
	}
	for _, layout := range [...]string{
		"2006-01-02T15:04:05Z07:00",
		"2006-01-02T15:04:05Z0700",
		"2006-01-02T15:04:05Z07",
		"2006-01-02T15:04:05",
		"2006-01-02T15:04Z07:00",
		"2006-01-02T15:04",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}
