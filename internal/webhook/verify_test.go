package webhook

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"flowkeep/internal/simulate"
)

// FuzzSignature: no header breaks the reading of it, one is accepted if and
// only if it is 32 bytes in hex, and what was signed verifies.
func FuzzSignature(f *testing.F) {
	good := simulate.Sign("s3cret", []byte("{}"))
	for _, header := range []string{
		"", " ", "sha256=", good, "sha256=" + good, strings.ToUpper(good), " " + good + "\t", "SHA256=" + good,
		good[1:], good + "0", good + "," + good, "sha256=sha256=" + good, strings.Repeat("g", 64), strings.Repeat("é", 32), "\x00" + good[1:],
	} {
		f.Add(header, []byte("{}"))
	}
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		sum, ok := parseSignature(header)
		raw, err := hex.DecodeString(strings.TrimPrefix(strings.TrimSpace(header), "sha256="))
		if want := err == nil && len(raw) == 32; ok != want {
			t.Fatalf("parseSignature(%q) accepts: %v, want %v", header, ok, want)
		}
		if ok && !bytes.Equal(sum[:], raw) {
			t.Fatalf("parseSignature(%q) = %x", header, sum)
		}
		signature := simulate.Sign("s3cret", body)
		for _, form := range []string{signature, " sha256=" + strings.ToUpper(signature) + " "} {
			signed, ok := parseSignature(form)
			if !ok || matchSecret([]string{"other", "s3cret"}, body, signed) != 1 {
				t.Fatalf("%q does not verify %q", form, body)
			}
			if sum != signed && matchSecret([]string{"s3cret"}, body, sum) != -1 {
				t.Fatalf("%q verifies %q", header, body)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 128) // 2 KB
	header := "sha256=" + simulate.Sign("s3cret", body)
	s := signer{name: "kapso", header: "X-Webhook-Signature", secrets: []string{"s3cret"}}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		sum, ok := parseSignature(header)
		if !ok {
			b.Fatal("malformed")
		}
		if _, err := verify([]claim{{s, sum}}, body); err != nil {
			b.Fatal(err)
		}
	}
}
