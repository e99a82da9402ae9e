package simulate

import (
	"encoding/base64"
	"strconv"
	"time"
)

// person is one end of a conversation, the business number the other: what all
// messages of one delivery have in common.
type person struct {
	name, phone, userID string
	conversation        string
	number              businessNumber
}

type businessNumber struct{ id, display string }

const isoForm = "2006-01-02T15:04:05.000Z"

// message is what the slots of one item's templates print.
type message struct {
	*person
	random  *random
	id      string
	token   string
	context string // the wamid that it answers; empty: one of no importance
	sentAt  time.Time
	iso     [len(isoForm)]byte // sentAt as a template shows it several times
	answers []byte             // JSON, once they are made

	// The item's place in the body; itemTo is negative until it is known.
	itemFrom, itemTo int
}

// appendItem renders an item and notes which bytes are the item's own.
func (m *message) appendItem(dst []byte, t template) []byte {
	m.itemFrom, m.itemTo = len(dst), -1
	dst = m.append(dst, t)
	if m.itemTo < 0 {
		m.itemTo = len(dst)
	}
	return dst
}

func (m *message) append(dst []byte, t template) []byte {
	for i := range t {
		dst = append(dst, t[i].text...)
		dst = m.appendSlot(dst, &t[i])
	}
	return dst
}

func (m *message) appendSlot(dst []byte, p *part) []byte {
	switch p.slot {
	case slotPool:
		return append(dst, pick(m.random, p.pool)...)
	case slotID:
		return append(dst, m.id...)
	case slotFrom:
		return append(dst, m.phone...)
	case slotName:
		return append(dst, m.name...)
	case slotUserID:
		return append(dst, m.userID...)
	case slotConversation:
		return append(dst, m.conversation...)
	case slotNumberID:
		return append(dst, m.number.id...)
	case slotDisplay:
		return append(dst, m.number.display...)
	case slotToken:
		return append(dst, m.token...)
	case slotContext:
		if m.context != "" {
			return append(dst, m.context...)
		}
		return appendWamid(dst, m.phone, m.random.next(), m.random.next())
	case slotUnix:
		return strconv.AppendInt(dst, m.sentAt.Unix(), 10)
	case slotISO:
		return append(dst, m.iso[:]...)
	case slotAnswers:
		return append(dst, m.answers...)
	case slotAnswersString:
		return appendString(dst, m.answers)
	case slotAnswersTwice:
		return appendString(dst, appendString(nil, m.answers))
	case slotHash:
		for range 4 {
			dst = appendHex(dst, m.random.next(), 16)
		}
		return dst
	case slotNumber:
		return strconv.AppendInt(dst, int64(m.random.below(100)), 10)
	case slotUUID:
		return appendUUID(dst, m.random)
	case slotItemStart:
		m.itemFrom = len(dst)
	case slotItemEnd:
		m.itemTo = len(dst)
	}
	return dst
}

// appendString appends JSON text as a JSON string. The text's own strings have
// no raw control characters, so only quotes and backslashes need an escape;
// everything else, broken UTF-8 included, passes as it is.
func appendString(dst, text []byte) []byte {
	dst = append(dst, '"')
	start := 0
	for i, c := range text {
		if c == '"' || c == '\\' {
			dst = append(append(dst, text[start:i]...), '\\')
			start = i
		}
	}
	return append(append(dst, text[start:]...), '"')
}

// appendWamid appends a message id as WhatsApp makes them: base64 of a header,
// the phone number in clear and, after "3A", a hex id, here 18 digits of a and b.
func appendWamid(dst []byte, phone string, a, b uint64) []byte {
	var buf [64]byte
	raw := append(buf[:0], 0x1c, 0x18, byte(len(phone))) //nolint:gosec // no number is that long
	raw = append(raw, phone...)
	raw = append(raw, 0x15, 0x02, 0x00, 0x12, 0x18, 20, '3', 'A')
	from := len(raw)
	raw = appendHex(appendHex(raw, a, 16), b, 2)
	for i, c := range raw[from:] {
		if c >= 'a' {
			raw[from+i] = c - 'a' + 'A'
		}
	}
	raw = append(raw, 0)
	return base64.StdEncoding.AppendEncode(append(dst, "wamid."...), raw)
}
