package flowparse

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

func TestParse_Golden(t *testing.T) {
	t.Parallel()
	p := New(nil)
	for _, s := range readCorpus(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			got := golden(t, s.in.Body, p.Parse(s.in))
			path := filepath.Join("testdata", "golden", s.name+".golden.json")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("differs from %s:\n%s", path, got)
			}
		})
	}
}

// Each golden file needs its payload, so that a renamed case leaves none behind.
func TestGolden_NoneLeftOver(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, s := range readCorpus(t) {
		names[s.name] = true
	}
	for _, pattern := range []string{"golden/*.golden.json", "headers/*.json"} {
		paths, err := filepath.Glob(filepath.Join("testdata", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			name, _, _ := bytes.Cut([]byte(filepath.Base(path)), []byte("."))
			if !names[string(name)] {
				t.Errorf("%s has no payload", path)
			}
		}
	}
}

// Another package that stores the corpus counts rows, one a message id.
func TestCorpus_NoMessageIDTwice(t *testing.T) {
	t.Parallel()
	p := New(nil)
	seen := map[string]string{}
	for _, s := range readCorpus(t) {
		for _, r := range p.Parse(s.in).Responses {
			if other, taken := seen[r.MessageID]; taken {
				t.Errorf("%s and %s both hold %s", s.name, other, r.MessageID)
			}
			seen[r.MessageID] = s.name
		}
	}
}

// goldenDelivery is a Delivery as people read it. Exact bytes that stand in the
// body are given by their place in it.
type goldenDelivery struct {
	Source         Source           `json:"source"`
	Event          string           `json:"event,omitempty"`
	IdempotencyKey string           `json:"idempotency_key,omitempty"`
	Ignored        int              `json:"ignored"`
	Responses      []goldenResponse `json:"responses"`
	Rejects        []goldenReject   `json:"rejects"`
	Statuses       []SendStatus     `json:"statuses,omitempty"`
}

type goldenResponse struct {
	MessageID        string       `json:"message_id"`
	FlowToken        *string      `json:"flow_token"`
	TokenKind        TokenKind    `json:"token_kind"`
	FlowID           string       `json:"flow_id,omitempty"`
	FlowIDSource     FlowIDSource `json:"flow_id_source,omitempty"`
	FlowName         string       `json:"flow_name"`
	Answers          string       `json:"answers"`
	Status           Status       `json:"status"`
	PhoneNumberID    string       `json:"phone_number_id"`
	WaID             string       `json:"wa_id"`
	UserID           string       `json:"user_id"`
	ContactName      string       `json:"contact_name"`
	ConversationID   string       `json:"conversation_id"`
	ContextMessageID string       `json:"context_message_id"`
	SentAt           string       `json:"sent_at"`
	Raw              string       `json:"raw"`
	Envelope         string       `json:"envelope"`
}

type goldenReject struct {
	Reason Reason `json:"reason"`
	Detail string `json:"detail"`
	Body   string `json:"body"`
}

func golden(t *testing.T, body []byte, d Delivery) []byte {
	t.Helper()
	if !d.ReceivedAt.Equal(received) {
		t.Errorf("received at %v", d.ReceivedAt)
	}
	g := goldenDelivery{
		Source: d.Source, Event: d.Event, IdempotencyKey: d.IdempotencyKey, Ignored: d.Ignored,
		Responses: []goldenResponse{}, Rejects: []goldenReject{}, Statuses: d.Statuses,
	}
	for _, r := range d.Responses {
		sentAt := ""
		if !r.SentAt.IsZero() {
			sentAt = r.SentAt.Format(time.RFC3339Nano)
		}
		g.Responses = append(g.Responses, goldenResponse{
			MessageID: r.MessageID, FlowToken: r.FlowToken, TokenKind: r.TokenKind, FlowID: r.FlowID,
			FlowIDSource: r.FlowIDSource, FlowName: r.FlowName, Answers: string(r.Answers), Status: r.Status,
			PhoneNumberID: r.PhoneNumberID, WaID: r.WaID, UserID: r.UserID, ContactName: r.ContactName,
			ConversationID: r.ConversationID, ContextMessageID: r.ContextMessageID, SentAt: sentAt,
			Raw: place(body, r.Raw), Envelope: place(body, r.Envelope()),
		})
	}
	for _, r := range d.Rejects {
		g.Rejects = append(g.Rejects, goldenReject{Reason: r.Reason, Detail: r.Detail, Body: place(body, r.Body)})
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(g); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// place says where in the body the bytes stand, or what they are.
func place(body, part []byte) string {
	if bytes.Equal(body, part) {
		return "the whole body"
	}
	if i := bytes.Index(body, part); i >= 0 {
		return fmt.Sprintf("bytes %d to %d of the body", i, i+len(part))
	}
	if !utf8.Valid(part) {
		return fmt.Sprintf("%q", part)
	}
	return string(part)
}
