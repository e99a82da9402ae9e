package webhook_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"flowkeep/internal/simulate"
	"flowkeep/internal/webhook"
)

func sign(secret, body string) string { return simulate.Sign(secret, []byte(body)) }

// mixedCase writes every other letter upper case.
func mixedCase(text string) string {
	letters := []byte(text)
	for i := 0; i < len(letters); i += 2 {
		letters[i] = strings.ToUpper(text[i : i+1])[0]
	}
	return string(letters)
}

func TestSignature_Forms(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{})
	good := sign(kapsoSecret, response)
	for _, header := range []string{
		good,
		"sha256=" + good,
		strings.ToUpper(good),
		mixedCase(good),
		"sha256=" + mixedCase(good),
		"  " + good + " \t",
	} {
		if a := s.send(t, http.MethodPost, kapsoPath, strings.NewReader(response), kapsoHeader, header); a.status != http.StatusOK {
			t.Errorf("%q: %d %s", header, a.status, a.body)
		}
	}
	for _, name := range []string{"x-webhook-signature", "X-WEBHOOK-SIGNATURE"} {
		if a := s.send(t, http.MethodPost, kapsoPath, strings.NewReader(response), name, good); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// refusedHeaders are headers that no body can make right.
func refusedHeaders() map[string][]string {
	good := sign(kapsoSecret, response)
	raw, _ := hex.DecodeString(good)
	return map[string][]string{
		"missing":           nil,
		"empty":             {kapsoHeader, ""},
		"spaces":            {kapsoHeader, "   "},
		"prefix only":       {kapsoHeader, "sha256="},
		"a digit short":     {kapsoHeader, good[1:]},
		"a digit long":      {kapsoHeader, good + "0"},
		"not hex":           {kapsoHeader, "g" + good[1:]},
		"space inside":      {kapsoHeader, "sha256= " + good},
		"prefix twice":      {kapsoHeader, "sha256=sha256=" + good},
		"another algorithm": {kapsoHeader, "sha1=" + good},
		"base64":            {kapsoHeader, base64.StdEncoding.EncodeToString(raw)},
		"oversized":         {kapsoHeader, strings.Repeat(good, 150)},
		"a list":            {kapsoHeader, good + "," + good},
		"twice the same":    {kapsoHeader, good, kapsoHeader, good},
		"good, then bad":    {kapsoHeader, good, kapsoHeader, "bad"},
		"bad, then good":    {kapsoHeader, "bad", kapsoHeader, good},
		"the other header":  {metaHeader, "sha256=" + good},
		"the old header":    {"X-Kapso-Signature", good},
	}
}

func TestSignature_RefusedWithoutReadingTheBody(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{})
	for name, headers := range refusedHeaders() {
		for _, framing := range []string{"Content-Length: 900", "Content-Length: 60000", "Transfer-Encoding: chunked"} {
			c := dial(t, s)
			c.write(t, "POST "+kapsoPath+" HTTP/1.1\r\nHost: x\r\n"+framing+"\r\n")
			for i := 0; i < len(headers); i += 2 {
				c.write(t, headers[i]+": "+headers[i+1]+"\r\n")
			}
			c.write(t, "\r\n") // and no body
			a := c.answer(t)
			wantProblem(t, a, http.StatusUnauthorized)
			if t.Failed() {
				t.Fatalf("%s, %s", name, framing)
			}
		}
	}
	s.wantMetrics(t, "flowkeep_signatures_refused_total", "54")
	s.wantNothingTaken(t)
}

// wantNothingTaken checks that no delivery got past its signature.
func (s *service) wantNothingTaken(t *testing.T) {
	t.Helper()
	if seen := s.sink.deliveries(); len(seen) != 0 {
		t.Errorf("the Sink got %+v", seen)
	}
	s.wantMetrics(t, "flowkeep_signatures_verified_total")
	s.wantMetrics(t, "flowkeep_items_total")
}

func TestSignature_Wrong(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig(), &fakeSink{})
	for _, c := range []struct{ name, path, header, signature string }{
		{"another secret", kapsoPath, kapsoHeader, sign("guess", response)},
		{"no secret", kapsoPath, kapsoHeader, sign("", response)},
		{"another body", kapsoPath, kapsoHeader, sign(kapsoSecret, response+" ")},
		{"zeros", kapsoPath, kapsoHeader, strings.Repeat("0", 64)},
		{"Meta's secret at Kapso's address", kapsoPath, kapsoHeader, sign(metaSecret, response)},
		{"Meta's header at Kapso's address", kapsoPath, metaHeader, sign(metaSecret, response)},
		{"Kapso's secret under Meta's header", metaPath, metaHeader, sign(kapsoSecret, response)},
		{"Meta's secret under Kapso's header", metaPath, kapsoHeader, sign(metaSecret, response)},
		{"the verify token", metaPath, metaHeader, sign(verifyToken, response)},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.send(t, http.MethodPost, c.path, strings.NewReader(response), c.header, c.signature)
			wantProblem(t, a, http.StatusUnauthorized)
			line := s.nextLine(t)
			if line["level"] != "warn" || line["route"] != c.path || line["error"] == nil {
				t.Errorf("log line %v", line)
			}
		})
	}
	s.wantMetrics(t, "flowkeep_signatures_refused_total", "9")
	s.wantNothingTaken(t)
}

func TestSignature_WithoutSecretsNothingIsBelieved(t *testing.T) {
	t.Parallel()
	s := start(t, webhook.Config{MaxBodyBytes: 1 << 20}, &fakeSink{})
	for _, path := range []string{kapsoPath, metaPath} {
		a := s.send(t, http.MethodPost, path, strings.NewReader(response), kapsoHeader, sign("", response), metaHeader, sign("", response))
		wantProblem(t, a, http.StatusUnauthorized)
	}
	s.wantNothingTaken(t)
}

func TestSignature_Rotation(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	cfg.KapsoSecrets = []string{"new-s3cret", "old-s3cret", "ältest s3cret"}
	s := start(t, cfg, &fakeSink{})
	for i, secret := range cfg.KapsoSecrets {
		for range i + 1 {
			if a := s.send(t, http.MethodPost, kapsoPath, strings.NewReader(response), kapsoHeader, sign(secret, response)); a.status != http.StatusOK {
				t.Errorf("secret %d: %d %s", i+1, a.status, a.body)
			}
		}
	}
	wantProblem(t, s.deliver(t, response), http.StatusUnauthorized)
	s.wantMetrics(t, "flowkeep_signatures_verified_total", `{secret="kapso-1"} 1`, `{secret="kapso-2"} 2`, `{secret="kapso-3"} 3`)
}

func TestSignature_MetaTakesOneOfTwo(t *testing.T) {
	t.Parallel()
	meta, kapso, wrong := sign(metaSecret, metaBody), sign(kapsoSecret, metaBody), sign("guess", metaBody)
	for _, c := range []struct {
		name     string
		headers  []string
		signedBy string // empty: refused
	}{
		{"Meta's", []string{metaHeader, "sha256=" + meta}, "meta-1"},
		{"Kapso's", []string{kapsoHeader, kapso}, "kapso-1"},
		{"both", []string{metaHeader, "sha256=" + meta, kapsoHeader, kapso}, "meta-1"},
		{"Meta's right, Kapso's wrong", []string{metaHeader, meta, kapsoHeader, wrong}, "meta-1"},
		{"Meta's wrong, Kapso's right", []string{metaHeader, wrong, kapsoHeader, kapso}, "kapso-1"},
		{"Meta's malformed, Kapso's right", []string{metaHeader, "sha256=", kapsoHeader, kapso}, "kapso-1"},
		{"Meta's right, Kapso's malformed", []string{metaHeader, meta, kapsoHeader, "?"}, "meta-1"},
		{"both wrong", []string{metaHeader, wrong, kapsoHeader, wrong}, ""},
		{"exchanged", []string{metaHeader, kapso, kapsoHeader, meta}, ""},
		{"both malformed", []string{metaHeader, "?", kapsoHeader, "?"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, testConfig(), &fakeSink{})
			a := s.send(t, http.MethodPost, metaPath, strings.NewReader(metaBody), c.headers...)
			if c.signedBy == "" {
				wantProblem(t, a, http.StatusUnauthorized)
				s.wantNothingTaken(t)
				return
			}
			if a.status != http.StatusOK {
				t.Errorf("answer %d %s", a.status, a.body)
			}
			s.wantMetrics(t, "flowkeep_signatures_verified_total", `{secret="`+c.signedBy+`"} 1`)
			s.wantMetrics(t, "flowkeep_items_total", `{outcome="stored",source="meta"} 1`)
		})
	}
}

// What is signed are the bytes, not what they mean (tolerances.md, A4).
func TestSignature_CoversTheExactBytes(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]string{
		"non-ASCII":      `{\"name\":\"Zoë Ñandú 日本 🎉\"}`,
		"punctuation":    `{\"q\":\"a/b < c > d & 50% @e\"}`,
		"escaped":        `{\"name\":\"Zo\u00eb \/ \u003c\"}`,
		"numbers":        `{\"n\":1.0,\"big\":12345678901234567890}`,
		"order of keys":  `{\"z\":1,\"a\":2}`,
		"invalid UTF-8":  "{\\\"name\\\":\\\"\xff\\\"}",
		"line separator": "{\\\"name\\\":\\\"\u2028\\\"}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, testConfig(), &fakeSink{})
			body := strings.Replace(response, `{\"flow_token\":\"order-7\",\"name\":\"Ada\"}`, answers, 1) + "\r\n"
			if a := s.deliver(t, body); a.status != http.StatusOK || !strings.Contains(a.body, `"stored":1`) {
				t.Fatalf("answer %d %s", a.status, a.body)
			}
			if raw := string(s.sink.deliveries()[0].Responses[0].Raw); strings.TrimSpace(raw) != strings.TrimSpace(body) {
				t.Errorf("kept %q of %q", raw, body)
			}
			var value any
			if err := json.Unmarshal([]byte(body), &value); err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			a := s.send(t, http.MethodPost, kapsoPath, strings.NewReader(body), kapsoHeader, sign(kapsoSecret, string(again)))
			wantProblem(t, a, http.StatusUnauthorized)
			a = s.send(t, http.MethodPost, kapsoPath, strings.NewReader(string(again)), kapsoHeader, sign(kapsoSecret, body))
			wantProblem(t, a, http.StatusUnauthorized)
		})
	}
}
