package simulate_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/simulate"
)

const kapsoFlow = `{"messaging_product":"whatsapp","recipient_type":"individual","to":"+1 555-123-4567","type":"interactive","interactive":{
	"type":"flow","body":{"text":"b"},"action":{"name":"flow","parameters":{"flow_message_version":"3","flow_id":"77","flow_cta":"Go",
	"flow_token":"a \"quoted\" \u00fc","flow_action":"navigate","flow_action_payload":{"screen":"A","data":{"k":1}}}}}}`

// callKapso posts a body and returns status and answer.
func callKapso(t *testing.T, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", "key")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestKapso_RefusesEachFieldThatIsWrong(t *testing.T) {
	t.Parallel()
	k, err := simulate.NewKapso(simulate.KapsoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(k)
	t.Cleanup(server.Close)
	messages := server.URL + simulate.KapsoPath + "/v24.0/647015955153740/messages"
	if status, answer := callKapso(t, messages, kapsoFlow); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	for _, edit := range [][3]string{
		{`"messaging_product":"whatsapp",`, ``, "messaging_product"},
		{`"individual"`, `"both"`, "recipient_type"},
		{`"+1 555-123-4567"`, `""`, "to is missing"},
		{`"type":"interactive"`, `"type":"text"`, "type is missing"},
		{`"type":"flow"`, `"type":"list"`, "interactive.type"},
		{`"text":"b"`, `"text":""`, "body.text"},
		{`"body"`, `"footer":{"text":""},"body"`, "footer.text"},
		{`"body"`, `"header":{"type":"text"},"body"`, "interactive.header"},
		{`"name":"flow"`, `"name":"x"`, "action.name"},
		{`"3"`, `3`, "flow_message_version"},
		{`"3"`, `"2"`, "flow_message_version"},
		{`"77"`, `"x"`, "flow_id"},
		{`"Go"`, `"` + strings.Repeat("x", 21) + `"`, "flow_cta"},
		{`"flow_cta"`, `"mode":"test","flow_cta"`, "mode"},
		{`"a \"quoted\" \u00fc"`, `""`, "flow_token"},
		{`"navigate"`, `"data_exchange"`, "flow_action_payload"},
		{`{"k":1}`, `{}`, "flow_action_payload.data"},
		{`"screen":"A"`, `"screen":""`, "flow_action_payload"},
		{`"screen"`, `"Screen2":1,"screen"`, "unknown field"},
		{`"k"`, `"keyOne"`, "snake_case"},
		{`"individual",`, `"individual","context":{},`, "context.message_id"},
	} {
		body := strings.Replace(kapsoFlow, edit[0], edit[1], 1)
		if status, answer := callKapso(t, messages, body); body == kapsoFlow || status != 400 || !strings.Contains(answer, edit[2]) {
			t.Errorf("%s for %s: %d %s", edit[1], edit[0], status, answer)
		}
	}
	templates := server.URL + simulate.KapsoPath + "/v24.0/1/message_templates"
	if status, answer := callKapso(t, templates, `{"name":"A B","language":"en","category":"UTILITY","components":[{"type":"BUTTONS","buttons":[{"type":"FLOW","text":"x","flow_action":"navigate"}]}]}`); status != 400 ||
		!strings.Contains(answer, "name is missing or") || !strings.Contains(answer, "flow_id") || !strings.Contains(answer, "navigate_screen") {
		t.Errorf("%d %s", status, answer)
	}
	if status, _ := callKapso(t, server.URL+simulate.KapsoPath+"/v24.0/me/messages", kapsoFlow); status != 404 {
		t.Errorf("another's number: %d", status)
	}
}

// delivery is one event that the simulated Kapso posted.
type delivery struct {
	event string
	body  []byte
}

// The events of a message come in order, signed, and are tried again; the
// answer names the message and holds its token.
func TestKapso_PostsWhatAPhoneCauses(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []delivery
	refused := false
	var accepted, first time.Time
	webhook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if !refused { // the first attempt of all
			refused, first = true, time.Now()
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.URL.Path != simulate.DefaultPath || r.Header.Get("X-Webhook-Signature") != simulate.Sign("s", body) {
			t.Errorf("%s signed %q", r.URL, r.Header.Get("X-Webhook-Signature"))
		}
		got = append(got, delivery{r.Header.Get("X-Webhook-Event"), body})
	}))
	t.Cleanup(webhook.Close)
	var send simulate.KapsoSend
	const moment = 100 * time.Millisecond
	k, err := simulate.NewKapso(simulate.KapsoConfig{
		Webhook: webhook.URL, Secret: "s", Retry: []time.Duration{time.Millisecond}, Pause: moment,
		OnSend: func(s simulate.KapsoSend) { send = s },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(k)
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { k.Run(ctx) })
	accepted = time.Now()
	if status, answer := callKapso(t, server.URL+simulate.KapsoPath+"/v24.0/647015955153740/messages", kapsoFlow); status != 200 || !strings.Contains(answer, send.Wamid) {
		t.Fatalf("%d %s", status, answer)
	}
	if err := k.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	running.Wait()
	if waited := first.Sub(accepted); waited < moment {
		t.Errorf("the first status came after %v", waited)
	}
	if r := k.Report(); r.Messages != 1 || r.Statuses != 3 || r.Answers != 1 || r.GivenUp != 0 {
		t.Errorf("%+v", r)
	}
	for i, event := range []string{"sent", "delivered", "read", "received"} {
		if i >= len(got) || got[i].event != "whatsapp.message."+event {
			t.Fatalf("%d deliveries, and number %d is not %s", len(got), i, event)
		}
		if event == "received" {
			break
		}
		var status struct {
			Message struct {
				ID, To string
				Kapso  struct {
					Status   string
					Statuses []struct{ ID, Status string }
				}
			}
			PhoneNumberID string `json:"phone_number_id"`
		}
		if err := json.Unmarshal(got[i].body, &status); err != nil || status.Message.ID != send.Wamid || status.Message.Kapso.Status != event ||
			len(status.Message.Kapso.Statuses) != 1 || status.PhoneNumberID != "647015955153740" || status.Message.To != "15551234567" {
			t.Errorf("%v: %s", err, got[i].body)
		}
	}
	parsed := flowparse.New(nil).Parse(flowparse.Input{Body: got[3].body, Event: got[3].event})
	if len(parsed.Responses) != 1 {
		t.Fatalf("%s", got[3].body)
	}
	r := parsed.Responses[0]
	if r.FlowToken == nil || *r.FlowToken != `a "quoted" ü` || r.ContextMessageID != send.Wamid || r.WaID != "15551234567" || r.PhoneNumberID != "647015955153740" {
		t.Errorf("%+v", r)
	}
}
