package main

import (
	"fmt"
	"time"
)

// moment reads a time, a day (its beginning in UTC), or how long before now;
// empty is the zero time.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%q is neither a time such as 2026-01-31T12:00:00Z, nor a day such as 2026-01-31, nor a span such as 24h", text)
	}
	return t, nil
}
