package flowparse

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// received is the ReceivedAt of every corpus delivery.
var received = time.Date(2024, 1, 1, 0, 0, 5, 0, time.UTC)

// sample is one delivery of the corpus, as testdata/README.md describes it.
type sample struct {
	name string
	in   Input
}

func readCorpus(tb testing.TB) []sample {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "payloads", "*.json"))
	if err != nil || len(paths) < 60 {
		tb.Fatalf("found %d payloads, err %v", len(paths), err)
	}
	corpus := make([]sample, 0, len(paths))
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		body, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		headers := readHeaders(tb, name)
		corpus = append(corpus, sample{name: name, in: Input{
			Body:           body,
			Event:          headers["X-Webhook-Event"],
			IdempotencyKey: headers["X-Idempotency-Key"],
			ReceivedAt:     received,
		}})
	}
	return corpus
}

func readHeaders(tb testing.TB, name string) map[string]string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "headers", name+".json"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		tb.Fatal(err)
	}
	var headers map[string]string
	if err := json.Unmarshal(text, &headers); err != nil {
		tb.Fatalf("headers of %s: %v", name, err)
	}
	return headers
}

func readPayload(tb testing.TB, name string) []byte {
	tb.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", "payloads", name+".json"))
	if err != nil {
		tb.Fatal(err)
	}
	return body
}
