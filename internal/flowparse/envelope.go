package flowparse

import "slices"

// maxCarried bounds what is repeated in the envelope of every message of a Meta
// body, so that a body cannot multiply itself. What is larger counts as absent.
const maxCarried = 2 << 10

// carried returns a token if it is small enough to repeat, else nil.
func carried(token []byte) []byte {
	if len(token) > maxCarried {
		return nil
	}
	return token
}

// frame is what an item needs around it to be read alone as it was read in its
// delivery. The zero frame needs nothing.
type frame struct {
	meta metaFrame
	// batch asks for a batch of one: alone, the item would be taken for
	// something else, or for another event.
	batch bool
}

// metaFrame is what surrounds a Meta message: exact bytes of its delivery, nil
// where there are none.
type metaFrame struct {
	present  bool // false for Kapso
	entryID  []byte
	metadata []byte
	contact  []byte
}

// Envelope returns a body that Parse reads to this one Response, whatever the
// delivery held beside it: for Kapso the item itself, for Meta a minimal body
// with the exact bytes of the message, its contact and its metadata. It is to
// be parsed with no event hint or that of its delivery. The result may alias
// Raw.
func (r *Response) Envelope() []byte { return r.frame.around(r.Raw) }

func (f *frame) around(item []byte) []byte {
	switch {
	case f.meta.present:
		return f.meta.aroundMessages(slices.Concat([]byte(`[`), item, []byte(`]`)))
	case f.batch:
		return slices.Concat([]byte(`{"event":"`+messageReceived+`","data":[`), item, []byte(`]}`))
	}
	return item
}

// aroundMessages returns a body whose value.messages is the token given.
func (f *metaFrame) aroundMessages(messages []byte) []byte {
	value := make([]byte, 0, len(f.metadata)+len(f.contact)+len(messages)+80)
	value = append(value, `{"field":"messages","value":{`...)
	if f.metadata != nil {
		value = append(append(append(value, `"metadata":`...), f.metadata...), ',')
	}
	if f.contact != nil {
		value = append(append(append(value, `"contacts":[`...), f.contact...), `],`...)
	}
	value = append(append(append(value, `"messages":`...), messages...), `}}`...)
	return f.aroundChange(value)
}

// aroundChange returns a body with the one change given.
func (f *metaFrame) aroundChange(change []byte) []byte {
	entry := make([]byte, 0, len(f.entryID)+len(change)+32)
	entry = append(entry, '{')
	if f.entryID != nil {
		entry = append(append(append(entry, `"id":`...), f.entryID...), ',')
	}
	entry = append(append(append(entry, `"changes":[`...), change...), `]}`...)
	return aroundEntry(entry)
}

// aroundEntry returns a Meta body with the one entry given.
func aroundEntry(entry []byte) []byte {
	return slices.Concat([]byte(`{"object":"`+metaObject+`","entry":[`), entry, []byte(`]}`))
}
