package flows

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxName is the longest name that Postgres keeps, in bytes.
const maxName = 63

// fixedColumns come first in every view.
func fixedColumns() []string {
	return []string{"message_id", "wa_id", "contact_name", "flow_token", "sent_at", "received_at", "stored_at"}
}

// uniqueName makes a name of a text that others chose: cut to what Postgres
// keeps, and numbered if it is taken.
func uniqueName(text string, taken func(string) bool) string {
	name := cutName(text, maxName)
	for n := 2; taken(name); n++ {
		suffix := "_" + strconv.Itoa(n)
		name = cutName(text, maxName-len(suffix)) + suffix
	}
	return name
}

// cutName cuts a text to at most size bytes, never inside a rune.
func cutName(s string, size int) string {
	if len(s) <= size {
		return s
	}
	for size > 0 && !utf8.RuneStart(s[size]) {
		size--
	}
	return s[:size]
}

// quoteName makes a text an SQL identifier. Nothing that is stored holds a NUL.
func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// quoteText makes a text an SQL literal, whatever standard_conforming_strings
// says.
func quoteText(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return "E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}
