package flows

import (
	"bytes"
	"encoding/json"
)

// The answers of every row are looked at, so they are not decoded, only cut.
// The text is that of a jsonb, or was found valid by flowparse.

const space = " \t\r\n"

// cutValue cuts the first value off a list of them. It is empty at the end of
// an object or array.
func cutValue(text []byte) (value, rest []byte) {
	text = bytes.TrimLeft(text, space+",:")
	end, depth := 0, 0
	for end < len(text) {
		switch text[end] {
		case '"':
			end = afterString(text, end)
		case '{', '[':
			depth++
			end++
		case '}', ']':
			if depth == 0 {
				return text[:end], text[end:]
			}
			depth--
			end++
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return text[:end], text[end:]
			}
			end++
		default:
			end++
		}
	}
	return text, nil
}

// afterString returns the index behind the string that begins at text[start].
func afterString(text []byte, start int) int {
	for i := start + 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// unquote decodes a JSON string.
func unquote(quoted []byte) string {
	if len(quoted) >= 2 && bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	_ = json.Unmarshal(quoted, &s) // what is no string is as an empty one
	return s
}
