package flowparse

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// replacement stands for what neither text nor jsonb of Postgres can hold.
const replacement = "\uFFFD"

// text returns what a string or number token says, fit for a text column: a
// number gives its literal text. Everything else is "".
func text(token []byte) string {
	switch {
	case isString(token):
		s, _ := clean(decodeString(token))
		return string(s)
	case isNumber(token):
		return string(token)
	}
	return ""
}

// says tells whether a token is the string want.
func says(token []byte, want string) bool {
	return isString(token) && string(decodeString(token)) == want
}

// firstText returns the first text that is not empty.
func firstText(tokens ...[]byte) string {
	for _, t := range tokens {
		if s := text(t); s != "" {
			return s
		}
	}
	return ""
}

// decodeString returns what a string token says, byte for byte: a NUL stays a
// NUL, bytes that are not UTF-8 stay as they are, and a lone surrogate gets the
// three bytes that UTF-8 would give it if it could, so that different strings
// never become the same. It aliases the token if nothing is escaped.
func decodeString(token []byte) []byte {
	s := token[1 : len(token)-1 : len(token)-1]
	next := bytes.IndexByte(s, '\\')
	if next < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for next >= 0 {
		out = append(out, s[:next]...)
		var size int
		out, size = appendEscape(out, s[next:])
		s = s[next+size:]
		next = bytes.IndexByte(s, '\\')
	}
	return append(out, s...)
}

// appendEscape decodes the escape that s begins with and tells its length.
func appendEscape(out, s []byte) ([]byte, int) {
	switch c := s[1]; c {
	case 'b':
		return append(out, '\b'), 2
	case 'f':
		return append(out, '\f'), 2
	case 'n':
		return append(out, '\n'), 2
	case 'r':
		return append(out, '\r'), 2
	case 't':
		return append(out, '\t'), 2
	case 'u':
		r, size := unicodeEscape(s)
		if utf16.IsSurrogate(r) {
			return append(out, 0xED, 0x80|byte(r>>6&0x3F), 0x80|byte(r&0x3F)), size
		}
		return utf8.AppendRune(out, r), size
	default:
		return append(out, c), 2
	}
}

// unicodeEscape reads the \uXXXX, or the pair of them, that s begins with. A
// surrogate in the result is a lone one.
func unicodeEscape(s []byte) (rune, int) {
	r := hex4(s[2:6])
	if utf16.IsSurrogate(r) && len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(s[8:12])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return r, 6
}

func hex4(digits []byte) rune {
	var r rune
	for _, c := range digits {
		switch {
		case isDigit(c):
			c -= '0'
		default:
			c = c&^0x20 - 'A' + 10
		}
		r = r<<4 | rune(c)
	}
	return r
}

// clean replaces each NUL, lone surrogate and byte that is not UTF-8 by U+FFFD
// and tells whether there was one. It aliases b if there was none.
func clean(b []byte) ([]byte, bool) {
	if utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 {
		return b, false
	}
	out := make([]byte, 0, len(b)+8)
	for len(b) > 0 {
		size := badPrefix(b)
		if size > 0 {
			out = append(out, replacement...)
		} else {
			_, size = utf8.DecodeRune(b)
			out = append(out, b[:size]...)
		}
		b = b[size:]
	}
	return out, true
}

// cleanText is clean for a string.
func cleanText(s string) string {
	b, changed := clean([]byte(s))
	if !changed {
		return s
	}
	return string(b)
}

// badPrefix returns how many bytes one U+FFFD is to replace at the start of b:
// none if a character stands there, three for an encoded surrogate, else one.
func badPrefix(b []byte) int {
	if b[0] == 0 {
		return 1
	}
	r, size := utf8.DecodeRune(b)
	if r != utf8.RuneError || size > 1 {
		return 0
	}
	if len(b) >= 3 && b[0] == 0xED && b[1]&0xE0 == 0xA0 && b[2]&0xC0 == 0x80 {
		return 3
	}
	return 1
}
