package kapsotest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

// AddWebhook adds a webhook, with fields as Kapso names them. Those that a
// webhook of Kapso's always has may be left out.
func (s *Server) AddWebhook(number string, fields map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addWebhook(number, fields)
}

func (s *Server) addWebhook(number string, fields map[string]any) map[string]any {
	w := map[string]any{"id": fmt.Sprintf("hook-%d", len(s.webhooks)+1), "kind": "kapso", "active": true, "phone_number_id": number}
	maps.Copy(w, fields)
	s.secret, _ = w["secret_key"].(string)
	s.webhooks = append(s.webhooks, w)
	return w
}

// AddDelivery adds a delivery at the front of the list, with fields as Kapso
// names them.
func (s *Server) AddDelivery(fields map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addDelivery(fields)
}

func (s *Server) addDelivery(fields map[string]any) {
	fields["id"] = fmt.Sprintf("delivery-%d", len(s.deliveries)+1)
	fields["created_at"] = time.Now().UTC()
	s.deliveries = slices.Insert(s.deliveries, 0, fields)
}

// Webhook returns a webhook as it is now.
func (s *Server) Webhook(id string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.webhook(id))
}

func (s *Server) webhook(id string) map[string]any {
	for _, w := range s.webhooks {
		if w["id"] == id {
			return w
		}
	}
	return nil
}

func (s *Server) listWebhooks(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []map[string]any{}
	for _, hook := range s.webhooks {
		if hook["phone_number_id"] == r.PathValue("number") {
			list = append(list, hook)
		}
	}
	answer(w, http.StatusOK, map[string]any{"data": list, "meta": map[string]int{"page": 1, "total_pages": 1}})
}

func readWebhook(r *http.Request) map[string]any {
	var body struct {
		Webhook map[string]any `json:"whatsapp_webhook"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	return body.Webhook
}

func (s *Server) createWebhook(w http.ResponseWriter, r *http.Request) {
	fields := readWebhook(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if fields["url"] == nil || fields["secret_key"] == nil || fields["events"] == nil {
		answer(w, http.StatusUnprocessableEntity, map[string]string{"error": fmt.Sprintf("Invalid webhook with %v", fields["secret_key"])})
		return
	}
	answer(w, http.StatusCreated, map[string]any{"data": s.addWebhook(r.PathValue("number"), fields)})
}

func (s *Server) changeWebhook(w http.ResponseWriter, r *http.Request) {
	fields := readWebhook(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	hook := s.webhook(r.PathValue("id"))
	if hook == nil {
		missing(w, "Webhook")
		return
	}
	maps.Copy(hook, fields)
	if secret, ok := fields["secret_key"].(string); ok {
		s.secret = secret
	}
	answer(w, http.StatusOK, map[string]any{"data": hook})
}

// testWebhook posts a signed delivery to the webhook's URL and notes how it
// ended.
func (s *Server) testWebhook(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hook := s.webhook(r.PathValue("id"))
	if hook == nil || r.URL.Query().Get("event_type") == "" {
		missing(w, "Webhook or event")
		return
	}
	body := []byte(`{"test":true,"message":{"id":"wamid.test","type":"text","text":{"body":"Test"}},"phone_number_id":"1"}`)
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, fmt.Sprint(hook["url"]), bytes.NewReader(body))
	if err != nil {
		answer(w, http.StatusUnprocessableEntity, map[string]string{"error": "Invalid URL"})
		return
	}
	req.Header.Set("X-Webhook-Event", r.URL.Query().Get("event_type"))
	req.Header.Set("X-Webhook-Signature", s.sign(body))
	delivery := map[string]any{"webhook_id": hook["id"], "status": "failed", "response_status": nil}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_ = resp.Body.Close()
		delivery["response_status"] = resp.StatusCode
		if resp.StatusCode == http.StatusOK {
			delivery["status"] = "delivered"
		}
	}
	s.addDelivery(delivery)
	answer(w, http.StatusOK, map[string]any{"data": map[string]bool{"success": true}})
}

func (s *Server) listDeliveries(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []map[string]any{}
	for _, d := range s.deliveries {
		if d["webhook_id"] == r.URL.Query().Get("webhook_id") {
			list = append(list, d)
		}
	}
	answer(w, http.StatusOK, map[string]any{"data": list[:min(len(list), 100)], "paging": map[string]any{}})
}
