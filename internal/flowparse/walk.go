package flowparse

import (
	"bytes"
	"slices"
)

// The walker moves over bytes that json.Valid has accepted, and hands out the
// exact bytes of values ("tokens") without decoding them. It exists because
// encoding/json matches struct keys regardless of case, so that an author's
// Flow_Token would overwrite flow_token, and because every token here can alias
// the body. A nil token is a member that is not there.

// object iterates over the members of a JSON object. After a true next, key
// holds the decoded name and value the exact bytes. Callers assign in the order
// of the members, so that of duplicate keys the last wins, as it does in jsonb.
type object struct {
	rest  []byte
	key   []byte
	value []byte
}

// members starts an iteration; a token that is not an object has no members.
func members(token []byte) object {
	if !isObject(token) {
		return object{}
	}
	return object{rest: token[1:]}
}

func (o *object) next() bool {
	i := skipSeparators(o.rest)
	if i >= len(o.rest) || o.rest[i] != '"' {
		return false
	}
	end := skipString(o.rest, i)
	o.key = decodeString(o.rest[i:end])
	o.rest = o.rest[end:]
	o.value, o.rest = takeValue(o.rest)
	return true
}

// array iterates over the elements of a JSON array.
type array struct {
	rest  []byte
	value []byte
}

// elements starts an iteration; a token that is not an array has no elements.
func elements(token []byte) array {
	if !isArray(token) {
		return array{}
	}
	return array{rest: token[1:]}
}

func (a *array) next() bool {
	i := skipSeparators(a.rest)
	if i >= len(a.rest) || a.rest[i] == ']' {
		return false
	}
	a.value, a.rest = takeValue(a.rest[i:])
	return true
}

// count is the number of elements; 0 if the token is not an array.
func count(token []byte) int {
	n := 0
	for a := elements(token); a.next(); {
		n++
	}
	return n
}

// member returns the value of one member, or nil.
func member(token []byte, name string) []byte {
	var found []byte
	for m := members(token); m.next(); {
		if string(m.key) == name {
			found = m.value
		}
	}
	return found
}

// takeValue splits off the first value of b. The value's capacity ends with it,
// so that appending to it cannot write into the body.
func takeValue(b []byte) (value, rest []byte) {
	start := skipSeparators(b)
	end := skipValue(b, start)
	return b[start:end:end], b[end:]
}

// skipSeparators passes over what may stand between two values of valid JSON.
func skipSeparators(b []byte) int {
	i := 0
	for i < len(b) && (isSpace(b[i]) || b[i] == ',' || b[i] == ':') {
		i++
	}
	return i
}

// skipValue returns the index after the value that begins at b[i].
func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return len(b)
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipNested(b, i)
	}
	for i < len(b) && !isSpace(b[i]) && b[i] != ',' && b[i] != ']' && b[i] != '}' {
		i++
	}
	return i
}

func skipNested(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = skipString(b, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		i++
		if depth == 0 {
			break
		}
	}
	return i
}

func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return len(b)
}

// trimSpace removes JSON's white space, and no other, from both ends.
func trimSpace(b []byte) []byte {
	return slices.Clip(bytes.Trim(b, " \t\r\n"))
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isObject(token []byte) bool { return len(token) > 0 && token[0] == '{' }
func isArray(token []byte) bool  { return len(token) > 0 && token[0] == '[' }
func isString(token []byte) bool { return len(token) > 0 && token[0] == '"' }
func isNumber(token []byte) bool { return len(token) > 0 && (token[0] == '-' || isDigit(token[0])) }

// isPresent tells a member with a value from one that is missing or null.
func isPresent(token []byte) bool { return len(token) > 0 && token[0] != 'n' }
