package kapso

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Error is an answer of Kapso or Meta with a status other than 2xx.
type Error struct {
	Status     int           // HTTP
	Code       int           // Meta's code, such as 131047; 0 if the answer has none
	Subcode    int           // Meta's error_subcode
	Word       string        // Kapso's code where it is a word, such as marketing_preference_stopped
	Type       string        // Meta's, such as OAuthException
	Message    string        // at most maxMessage characters, like Details
	Details    string        // Meta's error_data.details
	TraceID    string        // fbtrace_id, for Meta's support
	RetryAfter time.Duration // what the server asked for; 0 if nothing
}

// maxMessage bounds each text that is kept of an answer, in characters.
const maxMessage = 300

// Error says what happened and, where it is known, what to do.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "status %d", e.Status)
	if e.Code != 0 {
		fmt.Fprintf(&b, ", code %d", e.Code)
	}
	if e.Word != "" {
		fmt.Fprintf(&b, ", %s", e.Word)
	}
	for _, text := range []string{e.Message, e.Details} {
		if text != "" {
			fmt.Fprintf(&b, ": %s", text)
		}
	}
	if what := e.advice(); what != "" {
		fmt.Fprintf(&b, " (%s)", what)
	}
	return b.String()
}

// Is makes an answer that leaves open what became of the call an ErrInDoubt: a
// 5xx can come from a proxy whose upstream had accepted, a 408 after the whole
// request.
func (e *Error) Is(target error) bool {
	return target == ErrInDoubt && (e.Status >= 500 || e.Status == http.StatusRequestTimeout) && !e.refusedForNow()
}

// Temporary says whether the same call may succeed later. Of a send that is in
// doubt, find out first whether it arrived.
func (e *Error) Temporary() bool {
	switch {
	case e.final():
		return false
	case e.Status == http.StatusConflict, e.Status == http.StatusTooManyRequests, e.Status >= 500, e.Status == http.StatusRequestTimeout:
		return true
	}
	return e.throttled() || slices.Contains([]int{131048, 132069}, e.Code)
}

// refusedForNow says that the server took nothing of the call and that it may
// be repeated soon: it throttles. No 5xx is one, not even a 503 that names the
// time, since a proxy may have added that; nor is a 409: the other send in
// flight may be this very message.
func (e *Error) refusedForNow() bool {
	return !e.final() && e.Status < 500 && (e.Status == http.StatusTooManyRequests || e.throttled())
}

// throttled knows the limits that pass within seconds (kapso-facts.md, section
// 4); those for spam (131048) and an unhealthy flow (132069) last longer.
func (e *Error) throttled() bool {
	return slices.Contains([]int{4, 80007, 130429, 131056}, e.Code)
}

// stoppedMarketing is Kapso's word for a person who wants no marketing from the
// number (Kapso's OpenAPI description of the proxy).
const stoppedMarketing = "marketing_preference_stopped"

// final knows the codes that must not be tried again, whatever the status
// (kapso-facts.md, section 4).
func (e *Error) final() bool {
	return e.Word == stoppedMarketing ||
		slices.Contains([]int{368, 130497, 131031, 131047, 131049, 131050}, e.Code)
}

// advice is what the sender can do (kapso-facts.md, section 4).
func (e *Error) advice() string {
	switch {
	case e.Code == 131047:
		return "the person wrote last more than 24 hours ago: send a template"
	case e.Code == 132068:
		return "Meta has blocked the flow"
	case e.Code == 132069:
		return "Meta lets 10 of this flow out in an hour"
	case e.Code == 132001:
		return "there is no such approved template in that language"
	case e.Status == http.StatusUnauthorized:
		return "check KAPSO_API_KEY"
	case e.Status == http.StatusPaymentRequired:
		return "the Kapso project has no credits left"
	case e.Status == http.StatusNotFound:
		return "check the phone number id or account id, and KAPSO_BASE_URL"
	case e.Status == http.StatusConflict:
		return "another send is in flight"
	case e.Status/100 == 3:
		return "KAPSO_BASE_URL leads elsewhere, and redirects are not followed"
	case e.RetryAfter > 0 && e.Status < 500: // else it may be in doubt
		return "try again in " + e.RetryAfter.String()
	}
	return ""
}

// newError reads Meta's {error:{…}} and Kapso's {error:"…"}, and keeps nothing
// of a body that is neither. What is to be hidden is masked.
func newError(resp *http.Response, body []byte, hide []string) *Error {
	e := &Error{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	var outer struct {
		Error json.RawMessage `json:"error"`
		Code  json.RawMessage `json:"code"`
	}
	var inner struct {
		Message   string          `json:"message"`
		Type      string          `json:"type"`
		Code      json.RawMessage `json:"code"`
		Subcode   int             `json:"error_subcode"`
		TraceID   string          `json:"fbtrace_id"`
		ErrorData json.RawMessage `json:"error_data"`
	}
	var data struct {
		Details string `json:"details"`
	}
	// Whatever cannot be read stays empty: the status says enough.
	_ = json.Unmarshal(body, &outer)
	if json.Unmarshal(outer.Error, &inner.Message) != nil {
		_ = json.Unmarshal(outer.Error, &inner)
	}
	_ = json.Unmarshal(inner.ErrorData, &data)
	code := cmp.Or(string(inner.Code), string(outer.Code))
	if n, err := strconv.Atoi(code); err == nil {
		e.Code = n
	} else {
		_ = json.Unmarshal([]byte(code), &e.Word)
	}
	e.Subcode = inner.Subcode
	e.Word, e.Type, e.TraceID = bounded(e.Word, hide), bounded(inner.Type, hide), bounded(inner.TraceID, hide)
	e.Message, e.Details = bounded(inner.Message, hide), bounded(data.Details, hide)
	return e
}

// bounded makes a text of the server's fit for a terminal and a log.
func bounded(text string, hide []string) string {
	for _, secret := range hide {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > maxMessage {
		return string(runes[:maxMessage-1]) + "…"
	}
	return text
}

// retryAfter reads seconds or a date: at least a second if the header says
// either, else 0. More seconds than 32 bits hold are as many as they hold.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(header, 10, 32); err == nil || errors.Is(err, strconv.ErrRange) {
		return max(time.Second, time.Duration(seconds)*time.Second)
	}
	if date, err := http.ParseTime(header); err == nil {
		return max(time.Second, date.Sub(now))
	}
	return 0
}

// Reason returns in at most 50 characters why a call failed, with nothing of
// the server's own text: Meta's code, Kapso's word, the status, or a word of
// ours.
func Reason(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		switch {
		case e.Code != 0:
			return strconv.Itoa(e.Code)
		case e.Word == stoppedMarketing:
			return e.Word
		}
		return fmt.Sprintf("status %d", e.Status)
	}
	switch {
	case errors.Is(err, ErrInDoubt):
		return "no answer"
	case errors.Is(err, ErrUnreachable):
		return "unreachable"
	}
	return "not called"
}
