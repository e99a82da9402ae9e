package flowparse

import (
	"encoding/json"
	"strings"
)

// maxKept bounds the responses and rejects of one delivery. Kapso sends at most
// 100 items and Meta 1000 (kapso-facts.md, sections 1 and 3); a body with more
// than this is no delivery, and is kept whole as one reject.
const maxKept = 10_000

// Parser reads deliveries. It is safe for concurrent use.
type Parser struct {
	known map[string]bool
}

// New returns a Parser that takes knownFlowIDs, and nothing else, for flows.
// With none given (empty ones do not count), it guesses from a token's shape.
func New(knownFlowIDs []string) *Parser {
	known := make(map[string]bool, len(knownFlowIDs))
	for _, id := range knownFlowIDs {
		if id = strings.TrimSpace(id); id != "" {
			known[id] = true
		}
	}
	return &Parser{known: known}
}

// Parse reads one delivery. It never fails: what cannot be read is among the
// Rejects. The result aliases in.Body.
func (p *Parser) Parse(in Input) Delivery {
	r := reader{parser: p, body: in.Body, hint: eventNamed([]byte(in.Event))}
	r.out = Delivery{
		Source:         SourceKapso,
		Event:          cleanText(in.Event),
		IdempotencyKey: cleanText(in.IdempotencyKey),
		ReceivedAt:     in.ReceivedAt,
	}
	if !json.Valid(in.Body) {
		r.reject(ReasonNotJSON, "the body is not JSON", in.Body)
		return r.out
	}
	r.readBody()
	if r.overflow {
		r.out.Responses, r.out.Rejects, r.out.Statuses, r.out.Ignored = nil, nil, nil, 0
		r.reject(ReasonUnknownShape, "more items than any provider sends", in.Body)
	}
	return r.out
}

// reader reads one delivery.
type reader struct {
	parser   *Parser
	body     []byte // valid JSON
	hint     event  // what the delivery's header says
	out      Delivery
	overflow bool // more than maxKept items
}

// full tells whether no further item can be kept, and remembers that one was
// to be.
func (r *reader) full() bool {
	if len(r.out.Responses)+len(r.out.Rejects) >= maxKept {
		r.overflow = true
	}
	return r.overflow
}

func (r *reader) reject(reason Reason, detail string, body []byte) {
	r.out.Rejects = append(r.out.Rejects, Reject{Reason: reason, Detail: detail, Body: body})
}
