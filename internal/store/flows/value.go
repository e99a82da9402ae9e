package flows

import (
	"regexp"
	"strings"
	"time"
)

// The types that a column can have.
const (
	typeBoolean   = "boolean"
	typeNumeric   = "numeric"
	typeDate      = "date"
	typeTimestamp = "timestamptz"
	typeText      = "text"
	typeTexts     = "text[]"
	typeJSON      = "jsonb"
)

// kind is the set of JSON's kinds that were seen. Null is none of them.
type kind uint8

const (
	kindBoolean kind = 1 << iota
	kindNumber
	kindString
	kindArray
	kindObject
)

// fit is the set of types that can hold every value seen. Text and jsonb hold
// anything and are not in it. What it says must be what the functions as_… of
// the migration do.
type fit uint8

const (
	fitBoolean fit = 1 << iota
	fitNumeric
	fitDate
	fitTimestamp
	fitTexts
	looksLikeDate // not only could be read as a date, but is most likely one

	fitAll = fitBoolean | fitNumeric | fitDate | fitTimestamp | fitTexts | looksLikeDate
)

// holds says whether a column of a type shows every value of the set.
func (f fit) holds(columnType string) bool {
	switch columnType {
	case typeBoolean:
		return f&fitBoolean != 0
	case typeNumeric:
		return f&fitNumeric != 0
	case typeDate:
		return f&fitDate != 0
	case typeTimestamp:
		return f&fitTimestamp != 0
	case typeTexts:
		return f&fitTexts != 0
	}
	return true
}

// maxShortText is longer than any text that is anything but a text.
const maxShortText = 128

// classify says what a JSON value is, and which types hold it. Null is no kind
// and fits all.
func classify(value []byte) (kind, fit) {
	switch value[0] {
	case 'n':
		return 0, fitAll
	case 't', 'f':
		return kindBoolean, fitBoolean
	case '{':
		return kindObject, 0
	case '[':
		if holdsOnlyStrings(value) {
			return kindArray, fitTexts
		}
		return kindArray, 0
	case '"':
		if len(value) > maxShortText {
			return kindString, 0
		}
		return kindString, classifyText(unquote(value))
	}
	return kindNumber, fitNumeric
}

func holdsOnlyStrings(array []byte) bool {
	for element, rest := cutValue(array[1:]); len(element) > 0; element, rest = cutValue(rest) {
		if element[0] != '"' {
			return false
		}
	}
	return true
}

func classifyText(s string) fit {
	var f fit
	if s == "true" || s == "false" {
		f |= fitBoolean
	}
	if isDecimal(s) {
		f |= fitNumeric
	}
	if isDay(s) {
		f |= fitDate | looksLikeDate
	}
	if digits := strings.TrimPrefix(s, "-"); isDigits(digits) && len(digits) <= 14 {
		f |= fitDate
		// Other long numbers are phone numbers, of which none has 13 digits
		// and begins with 1. These are the days from 2001 to 2033.
		if len(s) == 13 && s[0] == '1' {
			f |= looksLikeDate
		}
	}
	if isTimestamp(s) {
		f |= fitTimestamp
	}
	return f
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func isDecimal(s string) bool {
	const most = 50
	whole, decimals, point := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	return isDigits(whole) && len(whole) <= most && (!point || isDigits(decimals) && len(decimals) <= most)
}

func isDay(s string) bool {
	if len(s) != len(time.DateOnly) || s[4] != '-' {
		return false
	}
	t, err := time.Parse(time.DateOnly, s)
	return err == nil && t.Year() > 0
}

// clockPattern is what follows the day in flows.as_timestamptz.
var clockPattern = regexp.MustCompile(`^[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?(Z|[+-](0[0-9]|1[0-4]):?[0-5][0-9])?$`)

func isTimestamp(s string) bool {
	return len(s) >= len("2006-01-02T15:04") && isDay(s[:10]) && clockPattern.MatchString(s[10:])
}
