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

func readCorpus(t testing.TB) []sample {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "payloads", "*.json"))
	if err != nil || len(paths) < 60 {
		t.Fatalf("found %d payloads, err %v", len(paths), err)
	}
	corpus := make([]sample, 0, len(paths))
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		headers := readHeaders(t, name)
		corpus = append(corpus, sample{name: name, in: Input{
			Body:           body,
			Event:          headers["X-Webhook-Event"],
			IdempotencyKey: headers["X-Idempotency-Key"],
			ReceivedAt:     received,
		}})
	}
	return corpus
}

func readHeaders(t testing.TB, name string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "headers", name+".json"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var headers map[string]string
	if err := json.Unmarshal(text, &headers); err != nil {
		t.Fatalf("headers of %s: %v", name, err)
	}
	return headers
}

func readPayload(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", "payloads", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return body
}
