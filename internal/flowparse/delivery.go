// Package flowparse turns the body of one webhook delivery into values: the
// Flow responses in it, the items that nobody could read, and a count of what
// is not ours. It is pure: bytes in, values out. It knows every envelope that
// Kapso and Meta send and knows no HTTP and no SQL.
//
// Shape decides; headers are hints. Items are independent: an item that cannot
// be read never costs its neighbours. Nothing here panics on any input.
package flowparse

import "time"

// Source says which shape a delivery's body had; without a known one it counts
// as Kapso's.
type Source string

// The shapes. Backfill is none: it marks what was fetched from Kapso's history.
const (
	SourceKapso    Source = "kapso"
	SourceMeta     Source = "meta"
	SourceBackfill Source = "backfill"
)

// TokenKind says what a response's flow token is.
type TokenKind string

// The kinds of token.
const (
	TokenFlowID TokenKind = "flow_id" // the token is the flow's own id (Kapso's default)
	TokenCustom TokenKind = "custom"  // a correlation id of the sender's own
	TokenNone   TokenKind = "none"    // missing, empty, or Meta's literal "unused"
)

// FlowIDSource says what told us which flow was answered.
type FlowIDSource string

// What can tell a flow.
const (
	FlowFromKnownFlow   FlowIDSource = "known_flow"   // the token is one of the configured flow ids
	FlowFromAnswerField FlowIDSource = "answer_field" // an answer says it
	FlowFromTokenShape  FlowIDSource = "token_shape"  // a guess: the token looks like a flow id
)

// Status says how a response's answers were obtained.
type Status string

// The statuses, weakest claim last: fallback wins over sanitized.
const (
	StatusOK        Status = "ok"
	StatusSanitized Status = "sanitized" // a value that jsonb cannot hold was replaced
	StatusFallback  Status = "fallback"  // response_json was unusable, taken from kapso.flow_response
)

// Reason is the stable word under which an item lies in quarantine.
type Reason string

// The reasons that parsing can find.
const (
	ReasonNotJSON         Reason = "not_json"
	ReasonUnknownShape    Reason = "unknown_shape"
	ReasonBadResponseJSON Reason = "bad_response_json"
)

// Input is one delivery as it arrived, its signature already verified.
type Input struct {
	Body           []byte    // the exact bytes; results alias it, so it must not change afterwards
	Event          string    // X-Webhook-Event, a hint; empty if absent
	IdempotencyKey string    // X-Idempotency-Key, kept as an attribute; empty if absent
	ReceivedAt     time.Time // when the delivery reached us
}

// Delivery is what Parse made of one Input. The number of items in it is
// len(Responses) + len(Rejects) + Ignored.
type Delivery struct {
	Source         Source
	Event          string // as in the Input, fit for a text column
	IdempotencyKey string // as in the Input, fit for a text column
	ReceivedAt     time.Time
	Responses      []Response
	Rejects        []Reject
	Ignored        int          // items that are well formed and not Flow responses
	Statuses       []SendStatus // what some of the ignored ones say of messages that we sent
}

// Response is one Flow response. An empty string means that the sender did not
// say (SQL null), but for FlowToken, where nil does and "" is a token that was
// sent empty. Every string is valid UTF-8 without NUL, fit for a text column.
type Response struct {
	MessageID        string // the wamid, or sha256:<hex>: see messageKey
	FlowToken        *string
	TokenKind        TokenKind
	FlowID           string
	FlowIDSource     FlowIDSource
	FlowName         string // nfm_reply.name, verbatim
	Answers          []byte // a JSON object or array that jsonb takes, keys untouched, numbers exact
	Status           Status
	PhoneNumberID    string
	WaID             string // digits only
	UserID           string // the business-scoped user id
	ContactName      string
	ConversationID   string
	ContextMessageID string
	SentAt           time.Time // the message's own time; zero if unreadable
	Raw              []byte    // the exact bytes of the item (Kapso: payload or batch item; Meta: message)

	frame frame // what Envelope puts around Raw
}

// Reject is one item that nobody could read. It goes to quarantine.
type Reject struct {
	Reason Reason
	Detail string // our words, never the sender's
	Body   []byte // a body that Parse reads again to the same end: see Response.Envelope
}
