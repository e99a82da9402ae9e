package api

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"flowkeep/internal/store/read"
)

const defaultLimit = 100

// parameterError is a fault in a parameter. Its text goes to the client and
// quotes no value.
type parameterError struct{ name, fault string }

func (e *parameterError) Error() string { return "The parameter " + e.name + ": " + e.fault + "." }

// readParameters returns the parameters by name. Each may be given once, and no
// others than known.
func readParameters(r *http.Request, known ...string) (map[string]string, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &parameterError{"list", "the part of the address after ? is not percent-encoded"}
	}
	values := map[string]string{}
	for name, list := range query {
		switch {
		case !slices.Contains(known, name):
			return nil, &parameterError{strconv.Quote(name), "there is none of this name here"}
		case len(list) > 1:
			return nil, &parameterError{name, "it was given more than once"}
		case list[0] == "":
			return nil, &parameterError{name, "it is empty; leave it out"}
		}
		if err := checkText(name, list[0]); err != nil {
			return nil, err
		}
		values[name] = list[0]
	}
	return values, nil
}

// checkText refuses what Postgres cannot hold.
func checkText(name, value string) error {
	if !utf8.ValidString(value) || strings.Contains(value, "\x00") {
		return &parameterError{name, "it is not text in UTF-8"}
	}
	return nil
}

// readQuery reads the parameters of a page.
func readQuery(r *http.Request) (q read.Query, err error) {
	values, err := readParameters(r, "flow_id", "flow_token", "wa_id", "user_id", "since", "until", "limit", "order", "after")
	if err != nil {
		return q, err
	}
	q = read.Query{
		FlowID: values["flow_id"], FlowToken: values["flow_token"], WaID: values["wa_id"], UserID: values["user_id"],
		Limit: defaultLimit, After: values["after"],
	}
	if q.Since, q.Until, err = readSpan(values); err != nil {
		return q, err
	}
	switch values["order"] {
	case "", "desc":
	case "asc":
		q.OldestFirst = true
	default:
		return q, &parameterError{"order", "it is asc or desc"}
	}
	if text, given := values["limit"]; given {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > read.MaxPageRows {
			return q, &parameterError{"limit", "it is a number from 1 to " + strconv.Itoa(read.MaxPageRows)}
		}
	}
	return q, nil
}

// readSpan reads since and until. One that is not given is the zero time.
func readSpan(values map[string]string) (since, until time.Time, err error) {
	if since, err = readTime(values, "since"); err != nil {
		return since, until, err
	}
	until, err = readTime(values, "until")
	return since, until, err
}

func readTime(values map[string]string, name string) (time.Time, error) {
	text, given := values[name]
	if !given {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() > 0 {
			return t, nil
		}
	}
	return time.Time{}, &parameterError{name, "it is a time such as 2026-01-31T12:00:00Z (+ is %2B), or a day such as 2026-01-31"}
}
