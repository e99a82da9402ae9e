package sends

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// The limits of the table's columns, in bytes.
const (
	maxWamid     = 512
	maxFlowID    = 200
	maxFlowToken = 1024
	maxRecipient = 512
	maxOther     = 512
	maxContext   = 64 << 10
)

// normalize brings a send into the form that the table takes, or says with
// ErrInvalid which column is at fault.
func (s *Send) normalize() error {
	if s.Kind == "" {
		s.Kind = KindInteractive
	}
	if len(s.Context) == 0 {
		s.Context = json.RawMessage(`{}`)
	}
	s.Recipient = plainRecipient(s.Recipient)
	for _, column := range []struct {
		name, value string
		most        int
	}{
		{"wamid", s.Wamid, maxWamid},
		{"flow_id", s.FlowID, maxFlowID},
		{"flow_token", s.FlowToken, maxFlowToken},
		{"recipient", s.Recipient, maxRecipient},
		{"phone_number_id", s.PhoneNumberID, maxOther},
		{"template", s.Template, maxOther},
		{"context", string(s.Context), maxContext},
	} {
		if len(column.value) > column.most || !isText(column.value) {
			return fmt.Errorf("%w: %s is no text of at most %d bytes", ErrInvalid, column.name, column.most)
		}
	}
	switch {
	case s.FlowID == "":
		return fmt.Errorf("%w: flow_id is empty", ErrInvalid)
	case s.Kind != KindInteractive && s.Kind != KindTemplate:
		return fmt.Errorf("%w: kind is neither %s nor %s", ErrInvalid, KindInteractive, KindTemplate)
	case s.Recipient != "" && !isRecipient(s.Recipient):
		return fmt.Errorf("%w: recipient is neither a phone number nor a user id", ErrInvalid)
	case !isObject(s.Context):
		return fmt.Errorf("%w: context is no JSON object that Postgres can hold", ErrInvalid)
	case !s.SentAt.IsZero() && (s.SentAt.Year() < 1970 || s.SentAt.Year() > 9999):
		return fmt.Errorf("%w: sent_at is not between the years 1970 and 9999", ErrInvalid)
	}
	return nil
}

// sentAt returns nil for a send of now.
func (s *Send) sentAt() *time.Time {
	if s.SentAt.IsZero() {
		return nil
	}
	return &s.SentAt
}

func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// plainRecipient leaves a phone number's digits; a user id stays as it is.
func plainRecipient(s string) string {
	s = strings.TrimSpace(s)
	if strings.Trim(s, "+0123456789 ()-./") != "" {
		return s
	}
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return r
		}
		return -1
	}, s)
}

// isRecipient says whether the table takes a recipient: digits, or something
// that begins with a letter.
func isRecipient(s string) bool {
	letter := s[0] | 0x20
	return 'a' <= letter && letter <= 'z' || strings.Trim(s, "0123456789") == ""
}

// isObject says whether jsonb takes the text as an object. It refuses the
// escape of a NUL; of lone surrogates the database says so itself.
func isObject(text []byte) bool {
	escapes := bytes.ReplaceAll(text, []byte(`\\`), nil) // an escaped backslash begins none
	return json.Valid(text) && bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) && !bytes.Contains(escapes, []byte(`\u0000`))
}
