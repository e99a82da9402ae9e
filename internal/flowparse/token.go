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

// maxStatedDigits bounds a flow id that an answer states: it is no guess, but
// somebody may have typed it.
const maxStatedDigits = 32

// readStatedFlow takes the flow from the answers, if an author or WhatsApp put
// it there, unless the token is a configured id. Both fields are looked for by
// others and unproven for the Cloud API (kapso-facts.md, section 3).
func (r *Response) readStatedFlow() {
	if r.FlowIDSource == FlowFromKnownFlow {
		return
	}
	for _, token := range [...][]byte{
		member(r.Answers, "flow_id"),
		member(embedded(member(r.Answers, "wa_flow_response_params")), "flow_id"),
	} {
		id := text(token)
		if id == "" || len(id) > maxStatedDigits || !onlyDigits(id) {
			continue
		}
		r.FlowID, r.FlowIDSource = id, FlowFromAnswerField
		switch {
		case r.TokenKind == TokenNone:
		case *r.FlowToken == id:
			r.TokenKind = TokenFlowID
		default:
			r.TokenKind = TokenCustom
		}
		return
	}
}

func looksLikeFlowID(token string, senderNumbers []string) bool {
	if len(token) < minFlowIDDigits || len(token) > maxFlowIDDigits {
		return false
	}
	return onlyDigits(token) && !slices.Contains(senderNumbers, token)
}

func onlyDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}
