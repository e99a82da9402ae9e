package simulate

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Kind says what a delivery is for.
type Kind string

// The kinds. A batch holds default, custom and other messages together, and
// has its first item's kind.
const (
	KindDefault   Kind = "default"   // a Flow response whose token is the flow's id
	KindCustom    Kind = "custom"    // a Flow response with a token of the sender's own
	KindOther     Kind = "other"     // not a Flow response: texts, images, statuses, events
	KindDuplicate Kind = "duplicate" // an earlier delivery again, byte for byte
	KindOdd       Kind = "odd"       // a shape that a receiver seldom meets and must bear
)

// Mix holds the weight of each kind of delivery; only proportions matter.
type Mix struct {
	Default, Custom, Other, Duplicate, Odd int
}

// DefaultMix is a busy number's usual traffic with a little of everything.
func DefaultMix() Mix {
	return Mix{Default: 60, Custom: 25, Other: 10, Duplicate: 3, Odd: 2}
}

// ParseMix reads weights such as "default=60,custom=25,other=10,duplicate=3,odd=2"
// (a kind that is not named has none) or a preset: "mixed" or "" for
// DefaultMix, "responses" for well-formed Flow responses only, "odd" for odd
// payloads only.
func ParseMix(s string) (Mix, error) {
	switch strings.TrimSpace(s) {
	case "", "mixed":
		return DefaultMix(), nil
	case "responses":
		return Mix{Default: 70, Custom: 30}, nil
	case "odd":
		return Mix{Odd: 1}, nil
	}
	var m Mix
	for field := range strings.SplitSeq(s, ",") {
		name, value, found := strings.Cut(strings.TrimSpace(field), "=")
		if !found {
			return Mix{}, fmt.Errorf("mix: %q is neither kind=weight nor a preset (mixed, responses, odd)", field)
		}
		weight := m.weight(Kind(strings.TrimSpace(name)))
		if weight == nil {
			return Mix{}, fmt.Errorf("mix: unknown kind %q (default, custom, other, duplicate, odd)", name)
		}
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			return Mix{}, fmt.Errorf("mix: weight of %s: %w", name, err)
		}
		*weight = n
	}
	return m, m.validate()
}

func (m *Mix) weight(k Kind) *int {
	switch k {
	case KindDefault:
		return &m.Default
	case KindCustom:
		return &m.Custom
	case KindOther:
		return &m.Other
	case KindDuplicate:
		return &m.Duplicate
	case KindOdd:
		return &m.Odd
	}
	return nil
}

// maxWeight keeps the sum of all weights far from overflow.
const maxWeight = 1_000_000

func (m Mix) validate() error {
	for _, n := range []int{m.Default, m.Custom, m.Other, m.Duplicate, m.Odd} {
		if n < 0 || n > maxWeight {
			return fmt.Errorf("mix: weight %d is not between 0 and %d", n, maxWeight)
		}
	}
	if m.Default+m.Custom+m.Other+m.Odd == 0 {
		return errors.New("mix: nothing to send but duplicates of nothing")
	}
	return nil
}

// draw picks a kind by its weight.
func (m Mix) draw(r *random) Kind {
	n := r.below(m.Default + m.Custom + m.Other + m.Duplicate + m.Odd)
	for _, k := range [...]Kind{KindDefault, KindCustom, KindOther, KindDuplicate} {
		w := *m.weight(k)
		if n < w {
			return k
		}
		n -= w
	}
	return KindOdd
}
