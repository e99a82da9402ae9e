package flowparse

import "slices"

// unusedToken is what Meta sends when the sender of a Flow chose no token
// (kapso-facts.md, section 3).
const unusedToken = "unused"

// A Meta flow id has 15 to 17 digits. Shorter numbers are phone numbers, times
// and orders, which are common custom tokens.
const (
	minFlowIDDigits = 15
	maxFlowIDDigits = 17
)

// findToken returns the first token that is not empty; if there is none, an
// empty one that was sent; else nil.
func findToken(tokens ...[]byte) *string {
	var empty *string
	for _, t := range tokens {
		if !isString(t) && !isNumber(t) {
			continue
		}
		s := text(t)
		if s != "" {
			return &s
		}
		empty = &s
	}
	return empty
}

// classify says what kind of token the response carries and, if it is a flow's
// id, which flow was answered. A number of the sender's own is no flow id.
func (p *Parser) classify(r *Response, senderNumbers ...string) {
	r.TokenKind = TokenNone
	if r.FlowToken == nil || *r.FlowToken == "" || *r.FlowToken == unusedToken {
		return
	}
	token := *r.FlowToken
	r.TokenKind = TokenCustom
	switch {
	case len(p.known) > 0:
		if p.known[token] {
			r.TokenKind, r.FlowID, r.FlowIDSource = TokenFlowID, token, FlowFromKnownFlow
		}
	case looksLikeFlowID(token, senderNumbers):
		r.TokenKind, r.FlowID, r.FlowIDSource = TokenFlowID, token, FlowFromTokenShape
	}
}

func looksLikeFlowID(token string, senderNumbers []string) bool {
	if len(token) < minFlowIDDigits || len(token) > maxFlowIDDigits {
		return false
	}
	for i := range len(token) {
		if !isDigit(token[i]) {
			return false
		}
	}
	return !slices.Contains(senderNumbers, token)
}
