package simulate

import "testing"

func TestSent_Explains(t *testing.T) {
	t.Parallel()
	s := Sent{Items: []Item{{Outcome: Stored}, {Outcome: Stored}, {Outcome: Ignored}, {Outcome: Quarantined}}}
	for _, c := range []struct {
		got  Counts
		want bool
	}{
		{Counts{Stored: 2, Ignored: 1, Quarantined: 1}, true},
		{Counts{Stored: 1, Duplicate: 1, Ignored: 1, Quarantined: 1}, true},
		{Counts{Ignored: 1, Spooled: 3}, true},
		{Counts{Stored: 1, Ignored: 1, Quarantined: 1}, false},
		{Counts{Stored: 3, Ignored: 1}, false},
		{Counts{Stored: 1, Ignored: 1, Quarantined: 2}, false},
		{Counts{Stored: 2, Ignored: 2}, false},
		{Counts{}, false},
	} {
		if got := s.Explains(c.got); got != c.want {
			t.Errorf("%+v: %v, want %v", c.got, got, c.want)
		}
	}
}

func TestParseMix(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Mix{
		"": DefaultMix(), "mixed": DefaultMix(), "responses": {Default: 70, Custom: 30}, "odd": {Odd: 1},
		"default=60,custom=25,other=10,duplicate=3,odd=2": {60, 25, 10, 3, 2},
		"default = 1 , odd = 2":                           {Default: 1, Odd: 2},
	} {
		if got, err := ParseMix(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"default", "default=x", "strange=1", "default=-1", "duplicate=1", "odd=9999999", ","} {
		if got, err := ParseMix(text); err == nil {
			t.Errorf("%q: %+v, want an error", text, got)
		}
	}
}
