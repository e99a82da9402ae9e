package kapso

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// ErrInvalid says that a message breaks a rule. Its text names every field that
// does, in the page's own camelCase. Nothing was sent.
var ErrInvalid = errors.New("the message breaks a rule")

// The texts' lengths, in characters (sending-flows.txt; kapso-facts.md, section
// 4). The SDK counts Unicode code points, and so do we.
const (
	maxCTA      = 20
	maxBody     = 1024
	maxHeader   = 60
	maxFooter   = 60
	maxCallback = 512
	maxButton   = 25
)

// rules gathers what is wrong with a message.
type rules struct{ broken []error }

func (r *rules) refuse(bad bool, field, format string, args ...any) {
	if bad {
		r.broken = append(r.broken, fmt.Errorf(field+": "+format, args...))
	}
}

// length wants a text of least to most characters.
func (r *rules) length(field, text string, least, most int) {
	n := utf8.RuneCountInString(text)
	r.refuse(n < least && least == 1, field, "is missing")
	r.refuse(n > most, field, "has %d characters; at most %d are allowed", n, most)
}

func (r *rules) needed(field, text string) { r.refuse(text == "", field, "is missing") }

// oneOf wants one of the words, or none.
func (r *rules) oneOf(field, text string, words ...string) {
	r.refuse(text != "" && !slices.Contains(words, text), field, "is %q; it must be %s", text, strings.Join(words, " or "))
}

// nonEmptyObject wants a JSON object with at least a key, or nothing at all
// (kapso-facts.md, section 4).
func (r *rules) nonEmptyObject(field string, data json.RawMessage) {
	if len(data) == 0 {
		return
	}
	var object map[string]json.RawMessage
	err := json.Unmarshal(data, &object)
	r.refuse(err != nil || object == nil, field, "must be a JSON object")
	r.refuse(err == nil && object != nil && len(object) == 0, field, "is empty; leave it out")
}

func (r *rules) err() error {
	if len(r.broken) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrInvalid, errors.Join(r.broken...))
}

// Decode reads the object that a call of the SDK takes into an input of this
// package. A key that the call does not know is refused, since the SDK would
// drop it without a word.
func Decode(text []byte, input any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(input); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the JSON object", ErrInvalid)
	}
	return nil
}

// encode writes JSON as it is, without HTML's escapes, so that --dry-run can be
// read.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
