package flowparse

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// The fuzzer rarely builds new shapes from bytes. This builds them from the
// names that the parser looks for, with anything under each of them.
func TestParse_RandomShapes(t *testing.T) {
	t.Parallel()
	const seeds = 20_000
	p := New(nil)
	responses, rejects := 0, 0
	for seed := range uint64(seeds) {
		g := shapes{rand: rand.New(rand.NewPCG(seed, 0))}
		g.write(6)
		in := Input{Body: []byte(g.out.String()), Event: g.pick(events()), ReceivedAt: received}
		d := p.Parse(in)
		for _, r := range d.Responses {
			checkResponse(t, r)
		}
		for _, s := range d.Statuses {
			checkStatus(t, s)
		}
		checkEnvelopes(t, p, in)
		if t.Failed() {
			t.Fatalf("seed %d, event %q: %s", seed, in.Event, in.Body)
		}
		responses += len(d.Responses)
		rejects += len(d.Rejects)
	}
	if responses < seeds/50 || rejects < seeds/50 {
		t.Errorf("%d responses and %d rejects from %d bodies prove little", responses, rejects, seeds)
	}
}

func events() []string {
	return []string{"", "", messageReceived, "whatsapp.message.sent"}
}

// shapes writes random JSON that looks like deliveries.
type shapes struct {
	rand *rand.Rand
	out  strings.Builder
}

func (g *shapes) pick(from []string) string { return from[g.rand.IntN(len(from))] }

// write writes one value with at most depth levels of nesting in it.
func (g *shapes) write(depth int) {
	switch n := g.rand.IntN(20); {
	case depth == 0 || n == 0:
		g.out.WriteString(g.pick([]string{"null", "17", `""`, `"x"`, "[]", "{}", `"\ud800"`, "\"\xff\"", "true"}))
	case n == 1:
		g.list(func() { g.write(depth - 1) })
	case n < 5:
		g.meta()
	case n < 8:
		g.object(func() { g.member("data", func() { g.list(func() { g.write(depth - 1) }) }) }, g.event)
	case n < 10:
		g.object(func() { g.member(g.pick([]string{"data", "payload"}), func() { g.write(depth - 1) }) }, g.event, g.phone)
	default:
		g.object(func() { g.member("message", g.message) }, g.event, g.phone, g.conversation, g.contacts)
	}
}

// object writes the first member, and some of the others in any order.
func (g *shapes) object(always func(), sometimes ...func()) {
	members := []func(){always}
	for _, m := range sometimes {
		if g.rand.IntN(3) > 0 {
			members = append(members, m)
		}
	}
	g.rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	g.out.WriteByte('{')
	for i, m := range members {
		if i > 0 {
			g.out.WriteByte(',')
		}
		m()
	}
	g.out.WriteByte('}')
}

func (g *shapes) list(element func()) {
	g.out.WriteByte('[')
	for i := range g.rand.IntN(4) {
		if i > 0 {
			g.out.WriteByte(',')
		}
		element()
	}
	g.out.WriteByte(']')
}

// member writes a member; one in sixteen has a value of the wrong kind.
func (g *shapes) member(name string, value func()) {
	g.out.WriteString(strconv.Quote(name) + ":")
	if g.rand.IntN(16) == 0 {
		g.write(0)
		return
	}
	value()
}

func (g *shapes) text(from ...string) func() {
	return func() { g.out.WriteString(strconv.Quote(g.pick(from))) }
}

func (g *shapes) number() func() { return g.text("15550000001", "+15550000002", "", "US.1") }

func (g *shapes) event() {
	g.member(g.pick([]string{"event", "type"}), g.text(events()...))
}

func (g *shapes) phone() { g.member("phone_number_id", g.text("1", "2")) }

func (g *shapes) conversation() {
	g.member("conversation", func() {
		g.object(func() { g.member("id", g.text("c")) }, func() { g.member("phone_number", g.number()) })
	})
}

func (g *shapes) contacts() {
	g.member("contacts", func() {
		g.list(func() {
			g.object(func() { g.member("wa_id", g.number()) },
				func() { g.member("user_id", g.text("US.1", "US.2")) },
				func() {
					g.member("profile", func() { g.out.WriteString(`{"name":"N` + strconv.Itoa(g.rand.IntN(9)) + `"}`) })
				})
		})
	})
}

func (g *shapes) message() {
	g.object(func() { g.member("interactive", g.interactive) },
		func() { g.member("id", g.text("wamid.1", "", strings.Repeat("w", 600))) },
		func() { g.member("from", g.number()) },
		func() { g.member("from_user_id", g.text("US.1", "US.2", "US.3")) },
		func() { g.member("type", g.text("interactive", "text")) },
		func() {
			g.member("kapso", func() { g.out.WriteString(`{"flow_token":"k","flow_response":{"a":1e999999}}`) })
		})
}

func (g *shapes) interactive() {
	g.object(func() {
		g.member("nfm_reply", func() {
			g.object(func() { g.member("response_json", g.text(`{"flow_token":"t"}`, `{}`, `[1]`, `7`, `{"a":"\u0000"}`)) })
		})
	}, func() { g.member("type", g.text("nfm_reply", "nfm_reply", "button_reply")) })
}

func (g *shapes) meta() {
	change := func() {
		g.object(func() { g.member("value", g.metaValue) }, func() { g.member("field", g.text("messages", "messages", "flows")) })
	}
	entry := func() {
		g.object(func() { g.member("changes", func() { g.list(change) }) }, func() { g.member("id", g.text("waba")) })
	}
	g.object(func() { g.member("object", g.text(metaObject)) }, func() { g.member("entry", func() { g.list(entry) }) }, g.event)
}

func (g *shapes) metaValue() {
	g.object(func() { g.member("messages", func() { g.list(g.message) }) },
		g.contacts,
		func() { g.member("statuses", func() { g.list(func() { g.write(0) }) }) },
		func() { g.member("metadata", func() { g.object(g.phone) }) })
}
