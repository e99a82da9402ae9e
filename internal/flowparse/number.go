package flowparse

import "bytes"

// The limits of Postgres' numeric, in which jsonb keeps its numbers
// (src/backend/utils/adt/numeric.c; the manual's "Numeric Types" gives the first
// two). They apply to the literal: a zero with 16384 decimals is refused.
const (
	maxTopDigit = 131071        // power of ten of the first digit that is not 0
	maxScale    = 16383         // digits after the point, the exponent counted in
	maxExponent = 1<<30 - 1 - 1 // an exponent must stay below half of the largest int32, even of 0
)

// numericHolds tells whether jsonb can hold a number token.
func numericHolds(number []byte) bool {
	mantissa, exponent := number, 0
	if e := bytes.IndexAny(number, "eE"); e >= 0 {
		var ok bool
		if exponent, ok = readExponent(number[e+1:]); !ok {
			return false
		}
		mantissa = number[:e]
	} else if len(number) <= maxScale {
		return true
	}

	mantissa = bytes.TrimPrefix(mantissa, []byte("-"))
	whole, decimals, _ := bytes.Cut(mantissa, []byte("."))
	if len(decimals)-exponent > maxScale {
		return false
	}
	if i := firstNonZero(whole); i >= 0 {
		return len(whole)-1-i+exponent <= maxTopDigit
	}
	if i := firstNonZero(decimals); i >= 0 {
		return -1-i+exponent <= maxTopDigit
	}
	return true
}

// readExponent reads an exponent of any length; false if it is out of range.
func readExponent(digits []byte) (int, bool) {
	negative := digits[0] == '-'
	if negative || digits[0] == '+' {
		digits = digits[1:]
	}
	n := 0
	for _, c := range digits {
		n = n*10 + int(c-'0')
		if n > maxExponent {
			return 0, false
		}
	}
	if negative {
		n = -n
	}
	return n, true
}

func firstNonZero(digits []byte) int {
	return bytes.IndexFunc(digits, func(r rune) bool { return r != '0' })
}
