package flowparse

import (
	"unicode/utf16"
	"unicode/utf8"
)

// sanitize makes valid JSON acceptable to jsonb in a database that is UTF-8:
// in strings and keys a NUL, a lone surrogate or a byte that is not UTF-8
// becomes U+FFFD, and a number that numeric cannot hold becomes a string of its
// literal text. Every other byte stays as it is. It tells whether there was
// anything to change, and aliases v if there was not.
func sanitize(v []byte) ([]byte, bool) {
	s := sanitizer{src: v}
	for i := 0; i < len(v); {
		switch c := v[i]; {
		case c == '"':
			i = s.walkString(i)
		case c == '-' || isDigit(c):
			end := skipValue(v, i)
			if number := v[i:end]; !numericHolds(number) {
				s.replace(i, end, `"`+string(number)+`"`)
			}
			i = end
		default:
			i++
		}
	}
	return s.result()
}

// sanitizer copies src to out as far as done, but only once there is something
// to replace.
type sanitizer struct {
	src  []byte
	out  []byte
	done int
}

// walkString mends the string that begins at src[i] and returns the index after
// it.
func (s *sanitizer) walkString(i int) int {
	for i++; i < len(s.src); {
		switch c := s.src[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			i = s.walkEscape(i)
		case c < utf8.RuneSelf:
			i++
		default:
			i = s.walkRune(i)
		}
	}
	return i
}

func (s *sanitizer) walkEscape(i int) int {
	if s.src[i+1] != 'u' {
		return i + 2
	}
	r, size := unicodeEscape(s.src[i:])
	if r == 0 || utf16.IsSurrogate(r) {
		s.replace(i, i+size, `\ufffd`)
	}
	return i + size
}

func (s *sanitizer) walkRune(i int) int {
	if size := badPrefix(s.src[i:]); size > 0 {
		s.replace(i, i+size, replacement)
		return i + size
	}
	_, size := utf8.DecodeRune(s.src[i:])
	return i + size
}

func (s *sanitizer) replace(from, to int, by string) {
	if s.out == nil {
		s.out = make([]byte, 0, len(s.src)+64)
	}
	s.out = append(s.out, s.src[s.done:from]...)
	s.out = append(s.out, by...)
	s.done = to
}

func (s *sanitizer) result() ([]byte, bool) {
	if s.out == nil {
		return s.src, false
	}
	return append(s.out, s.src[s.done:]...), true
}
