package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/time/rate"

	"flowkeep/internal/web"
)

var (
	errNoToken = errors.New("no valid token")
	errTooMany = errors.New("too many requests")
	errCrowded = errors.New("too many answers under way")
)

// How often somebody may ask, a second and in a burst.
const (
	tokenRate, tokenBurst     = 50, 100 // with one token
	failureRate, failureBurst = 5, 50   // all those without a valid one, together
)

// Token is the SHA-256 of a bearer token. The token itself is not kept.
type Token [sha256.Size]byte

// ParseTokens reads tokens of 16 characters or more, or "sha256:" and the hex
// SHA-256 of one. An error says which of them is wrong, by its number from 1, and
// quotes none.
func ParseTokens(list []string) ([]Token, error) {
	var tokens []Token
	var faults []error
	for i, text := range list {
		token, err := parseToken(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("token %d: %w", i+1, err))
		}
		tokens = append(tokens, token)
	}
	return tokens, errors.Join(faults...)
}

func parseToken(text string) (Token, error) {
	const shortest = 16
	if sum, hashed := strings.CutPrefix(text, "sha256:"); hashed {
		b, err := hex.DecodeString(sum)
		if err != nil || len(b) != sha256.Size {
			return Token{}, errors.New("after sha256: there must be 64 hex digits")
		}
		return Token(b), nil
	}
	if len(text) < shortest {
		return Token{}, fmt.Errorf("it has fewer than %d characters", shortest)
	}
	return sha256.Sum256([]byte(text)), nil
}

// guard knows the tokens and counts what comes.
type guard struct {
	tokens   []Token
	requests []*rate.Limiter // of each token
	failures *rate.Limiter
}

func newGuard(tokens []Token) *guard {
	g := &guard{tokens: tokens, failures: rate.NewLimiter(failureRate, failureBurst)}
	for range tokens {
		g.requests = append(g.requests, rate.NewLimiter(tokenRate, tokenBurst))
	}
	return g
}

// admit returns nil for a request with a valid token that does not come too
// often, else errNoToken or errTooMany. Who guesses does not keep the others out.
func (g *guard) admit(w http.ResponseWriter, r *http.Request) error {
	i := g.find(r.Header.Values("Authorization"))
	switch {
	case i < 0 && !g.failures.Allow():
		return errTooMany
	case i < 0:
		return errNoToken
	}
	web.Vouch(r.Context())
	web.EventOf(w).Text("token", fmt.Sprintf("api-%d", i+1))
	web.EventOf(w).Audit() // who reads what people wrote is worth a line
	if !g.requests[i].Allow() {
		return errTooMany
	}
	return nil
}

// find returns the number of the token in the header, or -1. It takes as long
// whichever it is.
func (g *guard) find(header []string) int {
	if len(header) != 1 {
		return -1
	}
	scheme, text, _ := strings.Cut(header[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || text == "" {
		return -1
	}
	sum, found := sha256.Sum256([]byte(text)), -1
	for i, t := range g.tokens {
		if subtle.ConstantTimeCompare(sum[:], t[:]) == 1 {
			found = i
		}
	}
	return found
}
