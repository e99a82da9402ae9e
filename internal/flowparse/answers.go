package flowparse

import "encoding/json"

// maxEncodings is how often response_json may be wrapped in a string: once is
// what Meta documents, twice has been seen (kapso-facts.md, section 3).
const maxEncodings = 2

// readAnswers returns the object or array in a response_json token, fit for
// jsonb, and whether it had to be changed for that. It is nil if there is none:
// the token is missing, no JSON, empty, or a bare scalar.
func readAnswers(token []byte) (answers []byte, changed bool) {
	for range maxEncodings {
		if !isString(token) {
			break
		}
		decoded, mended := clean(decodeString(token))
		if !json.Valid(decoded) {
			return nil, false
		}
		token = trimSpace(decoded)
		changed = changed || mended
	}
	if !isObject(token) && !isArray(token) {
		return nil, false
	}
	answers, mended := sanitize(token)
	return answers, changed || mended
}

// answersOrFallback reads response_json or, if it is unusable, the copy of it
// that Kapso parsed, when that is an object. Answers are nil if neither will do.
func answersOrFallback(responseJSON, flowResponse []byte) ([]byte, Status) {
	if answers, changed := readAnswers(responseJSON); answers != nil {
		if changed {
			return answers, StatusSanitized
		}
		return answers, StatusOK
	}
	if isObject(flowResponse) {
		answers, _ := sanitize(flowResponse)
		return answers, StatusFallback
	}
	return nil, ""
}
