package store

// Result is what became of one item.
type Result uint8

// The results. Stored, Duplicate, Quarantined and Noted mean committed.
const (
	Unknown     Result = iota // not committed as far as we know; it may be sent again
	Stored                    // a new row in flow_responses
	Duplicate                 // its row was there already, as durable as a new one
	Quarantined               // a record in quarantine
	TurnedAway                // would be a record in quarantine, which is full: not kept
	Erased                    // a tombstone covers it: not kept
	Noted                     // a status: in the register, if its message is registered
)
