package flows

import (
	"slices"
	"time"
)

// What is made by itself. More is left where it is, and said.
const (
	maxViews    = 500
	maxColumns  = 200  // of answers, in one view
	maxKeyBytes = 1024 // of a key that gets a column
)

// enoughDates is how many answers must have a key before its text is taken for
// a date or a time.
const enoughDates = 5

// answerKey is what is known of one key of a flow's answers.
type answerKey struct {
	Key     string `json:"key"`
	Column  string `json:"column"`
	Type    string `json:"type,omitempty"` // of the column as it is; empty before there is one
	Kinds   kind   `json:"kinds"`
	Fits    fit    `json:"fits"`
	Filled  int64  `json:"filled"`  // answers that have it, not null
	Misfits int64  `json:"misfits"` // those that Type does not hold

	// First is the stored_at of the first response that has it, null or not;
	// zero if an older version looked at that.
	First time.Time `json:"first,omitzero"`
}

// bestType returns the type that the column should have: chosen, if a person
// did and it still will do. It holds every value that was seen.
func (k *answerKey) bestType(chosen string) string {
	if chosen != "" && k.Fits.holds(chosen) {
		return chosen
	}
	switch k.Kinds {
	case kindBoolean:
		return typeBoolean
	case kindNumber:
		return typeNumeric
	case kindArray:
		if k.Fits.holds(typeTexts) {
			return typeTexts
		}
	case kindString:
		switch {
		case k.Filled >= enoughDates && k.Fits&looksLikeDate != 0:
			return typeDate
		case k.Filled >= enoughDates && k.Fits.holds(typeTimestamp):
			return typeTimestamp
		}
	}
	if k.Kinds&(kindArray|kindObject) != 0 {
		return typeJSON
	}
	return typeText
}

// flow is one row of the catalog.
type flow struct {
	id, name, view string // without a name or a view: empty
	known          bool   // in the catalog
	hasView        bool   // in the database
	state          flowState
	answers        int64
	firstSeen      *time.Time
	lastSeen       *time.Time
	readUntil      time.Time // the mark: the stored_at and message_id …
	readID         string    // … of the last answer that was looked at
}

// flowState is what the catalog keeps in the column state.
type flowState struct {
	Keys   []answerKey       `json:"keys"`             // in the order of their columns
	More   bool              `json:"more,omitempty"`   // some keys have no column: they are too many, or too long
	Lists  int64             `json:"lists,omitempty"`  // answers that are a list, without keys
	Chosen map[string]string `json:"chosen,omitempty"` // types by key, from "flowkeep flows retype"
}

// row is one response, as far as a view depends on it.
type row struct {
	messageID  string
	storedAt   time.Time
	receivedAt time.Time
	answers    []answer
	more, list bool
}

func (f *flow) key(key string) *answerKey {
	for i := range f.state.Keys {
		if f.state.Keys[i].Key == key {
			return &f.state.Keys[i]
		}
	}
	return nil
}

// newKeys returns the keys of r that have no column yet and are to get one.
func (f *flow) newKeys(r *row) (keys []string) {
	for _, a := range r.answers {
		if !a.isToken() && f.key(a.key) == nil {
			keys = append(keys, a.key)
		}
	}
	if len(f.state.Keys) >= maxColumns && len(keys) > 0 {
		f.state.More = true
		return nil
	}
	return keys
}

// add takes the next response into account. order is that of its new keys.
func (f *flow) add(r *row, order []string) {
	for _, key := range order {
		if len(f.state.Keys) >= maxColumns {
			f.state.More = true
			break
		}
		f.state.Keys = append(f.state.Keys, answerKey{Key: key, Column: f.columnFor(key), Fits: fitAll})
	}
	f.count(r)
	f.readUntil, f.readID = r.storedAt, r.messageID
}

// fits says whether a response that came to the flow late, from before the
// mark, leaves the order of the keys as it is.
func (f *flow) fits(r *row) bool {
	return !slices.ContainsFunc(r.answers, func(a answer) bool {
		k := f.key(a.key)
		return !a.isToken() && (k == nil || !k.First.Before(r.storedAt))
	})
}

// count notes what a response says of the keys that are known.
func (f *flow) count(r *row) {
	for _, a := range r.answers {
		k := f.key(a.key)
		if k == nil {
			continue
		}
		if k.First.IsZero() {
			k.First = r.storedAt
		}
		if a.kind == 0 {
			continue
		}
		k.Kinds |= a.kind
		k.Fits &= a.fit
		k.Filled++
		if k.Type != "" && !a.fit.holds(k.Type) {
			k.Misfits++
		}
	}
	f.state.More = f.state.More || r.more
	if r.list {
		f.state.Lists++
	}
	f.answers++
	received := r.receivedAt
	if f.firstSeen == nil || received.Before(*f.firstSeen) {
		f.firstSeen = &received
	}
	if f.lastSeen == nil || received.After(*f.lastSeen) {
		f.lastSeen = &received
	}
}

// needsShape says whether the view is not what the keys want, or may have
// columns of keys that are no more.
func (f *flow) needsShape() bool {
	return !f.hasView || len(f.state.Keys) == 0 || slices.ContainsFunc(f.state.Keys, func(k answerKey) bool {
		return k.Type != k.bestType(f.state.Chosen[k.Key])
	})
}

// columnFor makes a column's name of a key.
func (f *flow) columnFor(key string) string {
	if key == "" {
		key = "empty_key"
	}
	return uniqueName(key, func(name string) bool {
		return slices.Contains(fixedColumns(), name) ||
			slices.ContainsFunc(f.state.Keys, func(k answerKey) bool { return k.Column == name })
	})
}

// forget returns the flow to what it was before its first answer, but for what
// a person chose. Columns that somebody's view depends on stay as they are.
func (f *flow) forget(keepColumns bool) {
	var kept []answerKey
	for _, k := range f.state.Keys {
		if keepColumns {
			kept = append(kept, answerKey{Key: k.Key, Column: k.Column, Type: k.Type, Fits: fitAll})
		}
	}
	f.state = flowState{Keys: kept, Chosen: f.state.Chosen}
	f.answers, f.firstSeen, f.lastSeen = 0, nil, nil
	f.readUntil, f.readID = time.Unix(0, 0), ""
}
