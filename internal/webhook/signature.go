package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// Why a delivery is not believed.
var (
	errNoSignature       = errors.New("no well-formed signature header")
	errSignatureMismatch = errors.New("signature matches no secret")
)

// signer is one kind of signature that a route accepts.
type signer struct {
	name    string // for logs and metrics
	header  string
	secrets []string
}

// claim is a signature that a delivery carries, not verified yet.
type claim struct {
	signer
	sum digest
}

// readClaims returns the well-formed signatures in r's headers. Without one
// the delivery is refused before its body is read. A header that comes twice is
// not well formed: nobody can tell which one the sender wrote.
func readClaims(r *http.Request, signers []signer) ([]claim, error) {
	var claims []claim
	for _, s := range signers {
		values := r.Header.Values(s.header)
		if len(values) != 1 || len(s.secrets) == 0 {
			continue
		}
		if sum, ok := parseSignature(values[0]); ok {
			claims = append(claims, claim{s, sum})
		}
	}
	if len(claims) == 0 {
		return nil, errNoSignature
	}
	return claims, nil
}

// verify returns which secret signed body, as a name with its place in the
// list ("kapso-1"), so that one sees when an old secret is no longer used.
func verify(claims []claim, body []byte) (signedBy string, err error) {
	for _, c := range claims {
		if i := matchSecret(c.secrets, body, c.sum); i >= 0 {
			return c.name + "-" + strconv.Itoa(i+1), nil
		}
	}
	return "", errSignatureMismatch
}

// digest is an HMAC-SHA256.
type digest [sha256.Size]byte

// parseSignature reads a signature header: 64 hex digits of either case, with
// an optional "sha256=" before them (tolerances.md, A3).
func parseSignature(header string) (sum digest, ok bool) {
	text := strings.TrimPrefix(strings.TrimSpace(header), "sha256=")
	if len(text) != hex.EncodedLen(len(sum)) {
		return digest{}, false
	}
	if _, err := hex.Decode(sum[:], []byte(text)); err != nil {
		return digest{}, false
	}
	return sum, true
}

// matchSecret returns the index of the secret that signed exactly these bytes,
// or -1. Every secret is tried, so that the time taken tells nothing.
func matchSecret(secrets []string, body []byte, sum digest) int {
	found := -1
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		if hmac.Equal(mac.Sum(nil), sum[:]) {
			found = i
		}
	}
	return found
}
