package simulate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// KapsoConfig says how the simulated Kapso behaves.
type KapsoConfig struct {
	Key     string          // the X-API-Key that it takes; empty = any
	Webhook string          // where statuses and answers go, as Config.URL; empty = nowhere
	Secret  string          // signs X-Webhook-Signature
	Pause   time.Duration   // from a message that was accepted to its first status
	Think   time.Duration   // how long a person takes to answer
	Retry   []time.Duration // as Config.Retry
	Fail    []Failure       // how the first messages end, in this order; afterwards all is well

	// OnSend is told of every message that was accepted; nil = nobody. Calls never
	// overlap, and must not call back.
	OnSend func(KapsoSend)
}

// KapsoSend is a message that the simulated Kapso accepted.
type KapsoSend struct {
	Wamid         string
	PhoneNumberID string
	To            string // the recipient's digits; empty if only a business-scoped user id was given
	UserID        string // that id
	FlowID        string
	FlowToken     string // what the answer will hold: without one, the flow's id (kapso-facts.md, section 5)
	Template      string // its name; empty for an interactive message
	Body          []byte // the request's

	at time.Time // when it was accepted
}

// Kapso plays Kapso's WhatsApp proxy on this machine. It checks every field of
// what is sent and refuses as Kapso and Meta do. For each message it posts the
// signed events that a person's phone would cause: sent, delivered, read, and
// the answered form.
type Kapso struct {
	config  KapsoConfig
	traffic *Traffic
	target  *url.URL
	mux     *http.ServeMux
	queue   chan KapsoSend
	waiting sync.WaitGroup // messages whose events are not all posted

	mu        sync.Mutex
	messages  int               // that were sent to it, whatever became of them
	templates map[string]string // the flow of each created template, by name and language
	report    KapsoReport
}

// KapsoReport counts what the simulated Kapso did.
type KapsoReport struct {
	Messages  int    // accepted
	Refused   int    // calls that were not
	Statuses  int    // events posted and answered with 200
	Answers   int    // likewise
	GivenUp   int    // events that were not, after the last attempt
	Items     Counts // from the answers to the answers
	Templates int    // created
}

// kapsoQueue bounds the messages that wait for their events; then it is 429.
const kapsoQueue = 4096

// maxTemplates bounds the templates that are remembered.
const maxTemplates = 1000

// NewKapso prepares a Kapso. It answers HTTP at once; Run posts the events.
func NewKapso(c KapsoConfig) (*Kapso, error) {
	traffic, err := NewTraffic(0, 1, DefaultMix())
	if err != nil {
		return nil, fmt.Errorf("simulate Kapso: %w", err)
	}
	k := &Kapso{config: c, traffic: traffic, mux: http.NewServeMux(), queue: make(chan KapsoSend, kapsoQueue), templates: map[string]string{}}
	if c.Webhook != "" {
		events := Config{URL: c.Webhook, Secret: c.Secret}
		if k.target, err = events.prepare(); err != nil {
			return nil, fmt.Errorf("simulate Kapso: %w", err)
		}
	}
	k.mux.HandleFunc("POST "+KapsoPath+"/v24.0/{id}/messages", k.call(k.takeMessage, k.nextFailure))
	k.mux.HandleFunc("POST "+KapsoPath+"/v24.0/{id}/message_templates", k.call(k.takeTemplate, func() Failure { return FailNot }))
	return k, nil
}

// KapsoPath is where the proxy begins at Kapso's host.
const KapsoPath = "/meta/whatsapp"

// ServeHTTP answers as Kapso's WhatsApp proxy does.
func (k *Kapso) ServeHTTP(w http.ResponseWriter, r *http.Request) { k.mux.ServeHTTP(w, r) }

// Report returns what happened so far.
func (k *Kapso) Report() KapsoReport {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.report
}

// count changes the report.
func (k *Kapso) count(change func(*KapsoReport)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.report)
}

// call wraps what every call has in common: the key, a body of bounded size,
// and the failures that were ordered.
func (k *Kapso) call(take func(id string, body []byte) (any, *refusal), next func() Failure) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		refused := k.authorize(r)
		failure := next()
		var answer any
		switch {
		case refused != nil:
		case err != nil:
			refused = invalid("the body cannot be read")
		case failure == FailCut:
			if _, refused = take(r.PathValue("id"), body); refused == nil {
				panic(http.ErrAbortHandler) // net/http cuts the connection
			}
		case failure != FailNot:
			refused = failure.refusal()
		default:
			answer, refused = take(r.PathValue("id"), body)
		}
		if refused != nil {
			k.count(func(r *KapsoReport) { r.Refused++ })
			refused.write(w)
			return
		}
		writeJSON(w, http.StatusOK, answer)
	}
}

func (k *Kapso) authorize(r *http.Request) *refusal {
	key := r.Header.Get("X-API-Key")
	if key == "" || k.config.Key != "" && key != k.config.Key {
		return FailUnauthorized.refusal()
	}
	return nil
}

func (k *Kapso) nextFailure() Failure {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.messages++
	if k.messages > len(k.config.Fail) {
		return FailNot
	}
	return k.config.Fail[k.messages-1]
}

// takeMessage accepts a message, or says why not.
func (k *Kapso) takeMessage(phoneNumberID string, body []byte) (any, *refusal) {
	if !digitsOnly(phoneNumberID) {
		return nil, FailNotFound.refusal()
	}
	message, err := readKapsoMessage(body)
	if err != nil {
		return nil, invalid(err.Error())
	}
	send := KapsoSend{
		PhoneNumberID: phoneNumberID, To: message.digits(), UserID: message.Recipient, Body: body,
		FlowID: message.flowID(), FlowToken: message.flowToken(), Template: message.templateName(),
		at: time.Now(),
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if message.Template != nil {
		flow, created := k.templates[message.Template.key()]
		if !created {
			return nil, &refusal{status: http.StatusNotFound, code: 132001, message: "(#132001) Template name does not exist in the translation"}
		}
		send.FlowID = flow
	}
	send.FlowToken = cmp.Or(send.FlowToken, send.FlowID)
	send.Wamid = string(appendWamid(nil, send.To, mix64(k.traffic.seed+uint64(k.report.Messages)), ^k.traffic.seed)) //nolint:gosec // never negative
	k.waiting.Add(1)
	select {
	case k.queue <- send:
	default:
		k.waiting.Done()
		return nil, FailThrottled.refusal()
	}
	k.report.Messages++
	if k.config.OnSend != nil {
		k.config.OnSend(send)
	}
	return map[string]any{
		"messaging_product": "whatsapp",
		"contacts":          []any{map[string]string{"input": cmp.Or(message.To, message.Recipient), "wa_id": send.To}},
		"messages":          []any{map[string]string{"id": send.Wamid, "message_status": "accepted"}},
	}, nil
}

// takeTemplate accepts a template, which is approved at once.
func (k *Kapso) takeTemplate(accountID string, body []byte) (any, *refusal) {
	if !digitsOnly(accountID) {
		return nil, FailNotFound.refusal()
	}
	template, err := readKapsoTemplate(body)
	if err != nil {
		return nil, invalid(err.Error())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, there := k.templates[template.key()]; !there && len(k.templates) == maxTemplates {
		return nil, FailThrottled.refusal()
	}
	k.templates[template.key()] = template.flowID()
	k.report.Templates++
	return map[string]string{"id": fmt.Sprint(100_000_000_000_000 + k.report.Templates), "status": "APPROVED", "category": template.Category}, nil
}

// Run posts the events of each message until the context ends, and forgets what
// still waits then.
func (k *Kapso) Run(ctx context.Context) {
	transport := newTransport(DefaultConcurrency)
	defer transport.CloseIdleConnections()
	var workers sync.WaitGroup
	for range DefaultConcurrency {
		p := k.newPoster(transport)
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case send := <-k.queue:
					p.post(ctx, &send)
					k.waiting.Done()
				}
			}
		})
	}
	workers.Wait()
	for {
		select {
		case <-k.queue:
			k.waiting.Done()
		default:
			return
		}
	}
}

// Wait returns once the events of every message are posted, or the context has
// ended. No message may be sent meanwhile.
func (k *Kapso) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { k.waiting.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("not every answer was posted"), ctx.Err())
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that left needs no answer
}

func digitsOnly(s string) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}
