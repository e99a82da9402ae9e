package simulate

import "net/http"

// Sent is one delivery: what was sent, and what a correct receiver makes of it.
type Sent struct {
	Index    int64 // its place in the traffic, from 0
	Original int64 // for a duplicate: the place of the delivery that it repeats; else Index
	Kind     Kind
	Case     string      // for an odd payload (also when repeated): what is odd
	Header   http.Header // as sent; the signature is in it once Run has sent it
	Body     []byte
	Items    []Item

	looseSignature bool // sign in the looser form that receivers should bear
}

// Item is one message in a delivery.
type Item struct {
	Kind    Kind    // default, custom, other or odd
	Outcome Outcome // on first sight, by a receiver whose database is there
	Reason  string  // for Quarantined: under which word

	// MessageID is the key of the response's row: the wamid, or sha256:<hex>
	// where the sender gave none or one over 512 bytes.
	MessageID string
	Token     string // the flow token, empty if none was sent
	Answers   []byte // for Stored: the JSON that the row must hold
	Status    string // for Stored: the row's response_status, empty for "ok"
	Raw       []byte // the item's exact bytes
}

// Outcome is what becomes of an item.
type Outcome string

// The outcomes, as in the answer to a delivery.
const (
	Stored      Outcome = "stored"
	Ignored     Outcome = "ignored"
	Quarantined Outcome = "quarantined"
)

// Counts is the body of a 200: items by what became of them.
type Counts struct {
	Stored      int64 `json:"stored"`
	Duplicate   int64 `json:"duplicate"`
	Ignored     int64 `json:"ignored"`
	Quarantined int64 `json:"quarantined"`
	Spooled     int64 `json:"spooled"`
}

func (c *Counts) add(other Counts) {
	c.Stored += other.Stored
	c.Duplicate += other.Duplicate
	c.Ignored += other.Ignored
	c.Quarantined += other.Quarantined
	c.Spooled += other.Spooled
}

// total is the number of items.
func (c Counts) total() int64 {
	return c.Stored + c.Duplicate + c.Ignored + c.Quarantined + c.Spooled
}

// Want returns the counts that a correct receiver with its database answers on
// first sight; for a duplicate, after its original.
func (s Sent) Want() Counts {
	var c Counts
	for _, item := range s.Items {
		switch {
		case item.Outcome == Ignored:
			c.Ignored++
		case item.Outcome == Quarantined:
			c.Quarantined++
		case s.Kind == KindDuplicate:
			c.Duplicate++
		default:
			c.Stored++
		}
	}
	return c
}

// Explains says whether the counts are right for this delivery whatever was
// sent before and whether or not the database was there: responses may be
// stored, duplicate or spooled, and what goes to quarantine may be spooled.
func (s Sent) Explains(got Counts) bool {
	want := s.Want()
	responses := want.Stored + want.Duplicate
	return got.total() == want.total() && got.Ignored == want.Ignored &&
		got.Quarantined <= want.Quarantined && got.Stored+got.Duplicate <= responses
}
