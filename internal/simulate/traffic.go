package simulate

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// maxBatch is Kapso's largest batch.
const maxBatch = 100

// duplicateReach is how far back a duplicate's original can lie.
const duplicateReach = 1000

// Traffic makes deliveries. It never changes and is safe for concurrent use.
type Traffic struct {
	mix     Mix
	batch   int
	seed    uint64
	base    time.Time     // the time of delivery 0 …
	step    time.Duration // … and from each to the next
	numbers []businessNumber
	names   []string
	forms   []form
	reply   template // the envelope of a well-formed Flow response
	others  []otherMessage
	inBatch int // so many of others can be in a batch
	odd     []oddCase
}

// form is a flow's final screen.
type form struct {
	flowID, file string
	answers      template
}

// otherMessage is a delivery without a Flow response.
type otherMessage struct {
	event string
	body  template
}

// NewTraffic prepares traffic of up to batch messages a delivery. Seed 0 means
// a random seed and the present time, any other the same bytes every time.
func NewTraffic(seed int64, batch int, mix Mix) (*Traffic, error) {
	if err := mix.validate(); err != nil {
		return nil, err
	}
	if batch < 0 || batch > maxBatch {
		return nil, fmt.Errorf("batch of %d messages: Kapso sends 1 to %d", batch, maxBatch)
	}
	t := &Traffic{
		mix: mix, batch: batch, numbers: businessNumbers(), names: personNames(),
		seed: mix64(uint64(seed)), //nolint:gosec // only its bits matter
		base: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC), step: time.Second,
	}
	if seed == 0 {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		t.seed = binary.LittleEndian.Uint64(b[:])
		t.base, t.step = time.Now().UTC(), 0
	}
	return t, t.load()
}

// Delivery makes delivery number index, counted from 0. Its Header has no
// signature yet.
func (t *Traffic) Delivery(index int64) Sent {
	original, kind, r := t.resolve(index)
	s := t.make(original, kind, &r)
	if original != index {
		s.Index, s.Kind, s.Original = index, KindDuplicate, original
	}
	return s
}

// resolve follows duplicates to the delivery that they repeat, and returns its
// kind and its random numbers.
func (t *Traffic) resolve(index int64) (int64, Kind, random) {
	for {
		r := random(mix64(t.seed + mix64(uint64(index)))) //nolint:gosec // never negative
		mix := t.mix
		if index == 0 {
			mix.Duplicate = 0 // there is nothing before it
		}
		kind := mix.draw(&r)
		if kind != KindDuplicate {
			return index, kind, r
		}
		index -= 1 + int64(r.below(int(min(index, duplicateReach))))
	}
}

func (t *Traffic) make(index int64, kind Kind, r *random) Sent {
	s := Sent{Index: index, Original: index, Kind: kind}
	someone := t.newPerson(r)
	p := &someone
	switch {
	case kind == KindOdd:
		t.makeOdd(&s, p, r)
	case t.batch > 1:
		t.makeBatch(&s, p, r)
	default:
		t.makeSingle(&s, p, r)
	}
	return s
}

func (t *Traffic) makeSingle(s *Sent, p *person, r *random) {
	event := eventReceived
	m := t.newMessage(s.Index, 0, p, r)
	var item Item
	body := make([]byte, 0, 2560)
	if s.Kind == KindOther {
		other := &t.others[r.below(len(t.others))]
		event = other.event
		body, item = appendOther(body, &m, other)
	} else {
		body, item = t.appendReply(body, &m, s.Kind)
	}
	s.Body, s.Items = body, []Item{item}
	s.Header = newHeader(event, r)
}

func (t *Traffic) makeBatch(s *Sent, p *person, r *random) {
	s.Items = make([]Item, t.batch)
	body := make([]byte, 0, 2304*t.batch)
	body = append(body, `{"type":"whatsapp.message.received","batch":true,"data":[`...)
	kind, rest := s.Kind, Mix{Default: t.mix.Default, Custom: t.mix.Custom, Other: t.mix.Other}
	for i := range s.Items {
		if i > 0 {
			body = append(body, ',')
			kind = rest.draw(r)
		}
		m := t.newMessage(s.Index, i, p, r)
		if kind == KindOther {
			body, s.Items[i] = appendOther(body, &m, &t.others[r.below(t.inBatch)])
		} else {
			body, s.Items[i] = t.appendReply(body, &m, kind)
		}
	}
	s.Body = t.appendBatchInfo(body, s.Index, p)
	s.Header = newHeader(eventReceived, r)
	s.Header["X-Webhook-Batch"] = []string{"true"}
	s.Header["X-Batch-Size"] = []string{strconv.Itoa(t.batch)}
}

func (t *Traffic) appendBatchInfo(body []byte, index int64, p *person) []byte {
	first := index*int64(t.batch) + 1
	return fmt.Appendf(body, `],"batch_info":{"size":%d,"window_ms":5000,"first_sequence":%d,"last_sequence":%d,"conversation_id":"%s"}}`,
		t.batch, first, first+int64(t.batch)-1, p.conversation)
}

// appendReply appends one well-formed Flow response.
func (t *Traffic) appendReply(body []byte, m *message, kind Kind) ([]byte, Item) {
	f := &t.forms[m.random.below(len(t.forms))]
	m.token = f.flowID
	if kind == KindCustom {
		m.token = customToken(m.random)
	}
	m.answers = m.append(make([]byte, 0, 512), f.answers)
	body = m.appendItem(body, t.reply)
	return body, Item{
		Kind: kind, Outcome: Stored, MessageID: m.id, Token: m.token,
		Answers: m.answers, Raw: body[m.itemFrom:m.itemTo:m.itemTo],
	}
}

func appendOther(body []byte, m *message, o *otherMessage) ([]byte, Item) {
	body = m.appendItem(body, o.body)
	return body, Item{Kind: KindOther, Outcome: Ignored, MessageID: m.id, Raw: body[m.itemFrom:m.itemTo:m.itemTo]}
}

func (t *Traffic) newPerson(r *random) person {
	var scratch [80]byte
	b := strconv.AppendInt(append(scratch[:0], '1'), int64(201+r.below(789)), 10)
	b = append(b, "55501"...) // 555-0100 to 555-0199 belong to nobody
	n := r.below(100)
	b = append(b, hexDigits[n/10], hexDigits[n%10])
	phone := len(b)
	b = appendHex(append(b, "US."...), r.next(), 16)
	userID := len(b)
	all := string(appendUUID(b, r)) // one allocation for the three
	return person{
		name: pick(r, t.names), number: pick(r, t.numbers),
		phone: all[:phone], userID: all[phone:userID], conversation: all[userID:],
	}
}

// newMessage starts item number item of a delivery. Its id is unique in the
// run: no two places have the same number, and mix64 keeps them apart.
func (t *Traffic) newMessage(index int64, item int, p *person, r *random) message {
	var scratch [80]byte
	place := uint64(index)*(maxBatch+1) + uint64(item) //nolint:gosec // neither is negative
	id := appendWamid(scratch[:0], p.phone, mix64(t.seed+place), t.seed)
	m := message{
		person: p, random: r, id: string(id),
		sentAt: t.base.Add(time.Duration(index)*t.step + time.Duration(item)*time.Second),
	}
	copy(m.iso[:], m.sentAt.AppendFormat(scratch[:0], isoForm)) // scratch is free again
	return m
}

// customToken makes a correlation id as senders do. None looks like a flow's id.
func customToken(r *random) string {
	switch r.below(3) {
	case 0:
		return "order-" + strconv.Itoa(1000+r.below(900_000))
	case 1:
		return "user_" + strconv.Itoa(1+r.below(100_000)) + "_booking"
	}
	var scratch [36]byte
	return string(appendUUID(scratch[:0], r))
}

const eventReceived = "whatsapp.message.received"

// newHeader returns the headers of a v2 delivery. The keys are in Go's
// canonical form, as the map is used directly.
func newHeader(event string, r *random) http.Header {
	var scratch [36]byte
	values := [...]string{"application/json", event, "v2", string(appendUUID(scratch[:0], r))}
	return http.Header{ // the slices share one array, and none can grow into the next
		"Content-Type":              values[0:1:1],
		"X-Webhook-Event":           values[1:2:2],
		"X-Webhook-Payload-Version": values[2:3:3],
		"X-Idempotency-Key":         values[3:4:4],
	}
}
