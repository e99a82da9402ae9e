package simulate

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Failure is a way in which a call to the simulated Kapso ends.
type Failure string

// Each documented failure (kapso-facts.md, section 4), and a connection that is
// cut after the message was accepted.
const (
	FailNot          Failure = "ok"
	FailUnauthorized Failure = "401"
	FailNoCredits    Failure = "402"
	FailNotFound     Failure = "404"
	FailInFlight     Failure = "409"
	FailWindow       Failure = "422"
	FailThrottled    Failure = "429" // with Retry-After
	FailServer       Failure = "500"
	FailGateway      Failure = "502" // with a page of HTML
	FailOverload     Failure = "503" // with Retry-After
	FailCut          Failure = "cut"
)

// ParseFailures reads a list such as "429,cut,ok,500".
func ParseFailures(text string) ([]Failure, error) {
	if text == "" {
		return nil, nil
	}
	known := []Failure{
		FailNot, FailUnauthorized, FailNoCredits, FailNotFound, FailInFlight, FailWindow, FailThrottled, FailServer,
		FailGateway, FailOverload, FailCut,
	}
	var list []Failure
	for word := range strings.SplitSeq(text, ",") {
		f := Failure(strings.TrimSpace(word))
		if !slices.Contains(known, f) {
			return nil, fmt.Errorf("%q is no failure; they are %v", word, known)
		}
		list = append(list, f)
	}
	return list, nil
}

// refusal is an answer other than 200: Meta's form if there is a code, else
// Kapso's own.
type refusal struct {
	status     int
	code       int
	message    string
	details    string
	retryAfter int // seconds
	html       bool
}

func (f Failure) refusal() *refusal {
	switch f {
	case FailUnauthorized:
		return &refusal{status: http.StatusUnauthorized, message: "Invalid API key"}
	case FailNoCredits:
		return &refusal{status: http.StatusPaymentRequired, message: "Insufficient credits"}
	case FailNotFound:
		return &refusal{status: http.StatusNotFound, message: "Phone number or account not found"}
	case FailInFlight:
		return &refusal{status: http.StatusConflict, message: "Another send is in flight for this conversation"}
	case FailWindow:
		return &refusal{
			status: http.StatusUnprocessableEntity, code: 131047, message: "(#131047) Re-engagement message",
			details: "More than 24 hours have passed since the recipient last replied to the sender number.",
		}
	case FailThrottled:
		return &refusal{status: http.StatusTooManyRequests, code: 130429, message: "(#130429) Rate limit hit", retryAfter: 1}
	case FailGateway:
		return &refusal{status: http.StatusBadGateway, html: true}
	case FailOverload:
		return &refusal{status: http.StatusServiceUnavailable, message: "Service unavailable", retryAfter: 1}
	}
	return &refusal{status: http.StatusInternalServerError, code: 131000, message: "(#131000) Something went wrong"}
}

// invalid is Meta's answer to a field that is wrong.
func invalid(details string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: 100, message: "(#100) Invalid parameter", details: details}
}

func (f *refusal) write(w http.ResponseWriter) {
	if f.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.retryAfter))
	}
	switch {
	case f.html:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(f.status)
		fmt.Fprint(w, "<html><body><h1>502 Bad Gateway</h1></body></html>")
	case f.code == 0:
		writeJSON(w, f.status, map[string]string{"error": f.message})
	default:
		writeJSON(w, f.status, map[string]any{"error": map[string]any{
			"message": f.message, "type": "OAuthException", "code": f.code, "fbtrace_id": "AXk7s_8dR4eVHp9Kq2MmNlO",
			"error_data": map[string]string{"messaging_product": "whatsapp", "details": f.details},
		}})
	}
}
