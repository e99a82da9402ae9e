package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// leastRetention is the shortest time that things are kept: less would be a
// mistake, and could take what is not read yet.
const leastRetention = span(time.Hour)

// span is a length of time: as Go writes it, such as 8760h, or in days, 90d.
type span time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *span) UnmarshalText(text []byte) error {
	if days, ok := strings.CutSuffix(string(text), "d"); ok {
		n, err := strconv.ParseInt(days, 10, 64)
		if err != nil || n < 0 || n > int64(math.MaxInt64/(24*time.Hour)) {
			return fmt.Errorf("%q is no number of days", text)
		}
		*s = span(n) * span(24*time.Hour)
		return nil
	}
	d, err := time.ParseDuration(string(text))
	*s = span(d)
	return err
}

// String is in days if they are whole.
func (s span) String() string {
	if day := span(24 * time.Hour); s%day == 0 && s != 0 {
		return fmt.Sprintf("%dd", s/day)
	}
	return time.Duration(s).String()
}
