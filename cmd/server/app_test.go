package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/simulate"
)

const corpusDir = "../../internal/flowparse/testdata"

// Every payload of the corpus goes through the real server into a real
// Postgres: each is answered 200, and what the parser finds is what is kept.
func TestApp_Corpus(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	conn := connect(t, cfg.DatabaseURL)
	files, err := filepath.Glob(corpusDir + "/payloads/*.json")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d payloads, %v", len(files), err)
	}
	parser := flowparse.New(cfg.FlowIDs)
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		headers := corpusHeaders(t, file)
		want := parser.Parse(flowparse.Input{Body: body, Event: headers["X-Webhook-Event"]})
		status, answer := post(t, app.URL()+"/webhooks/kapso", sign(body), body, headers)
		if status != http.StatusOK {
			t.Errorf("%s: status %d %v", filepath.Base(file), status, answer)
			continue
		}
		kept := answer["stored"].(float64) + answer["duplicate"].(float64)
		if int(kept) != len(want.Responses) || int(answer["quarantined"].(float64)) != len(want.Rejects) || int(answer["ignored"].(float64)) != want.Ignored {
			t.Errorf("%s: %v, want %d responses, %d rejects, %d ignored", filepath.Base(file), answer, len(want.Responses), len(want.Rejects), want.Ignored)
		}
		for _, r := range want.Responses {
			checkRow(t, conn, filepath.Base(file), r)
		}
		for _, r := range want.Rejects {
			if n := query[int](t, conn, "SELECT count(*)::int FROM quarantine WHERE body = $1 AND reason = $2", r.Body, string(r.Reason)); n != 1 {
				t.Errorf("%s: %d records in quarantine for %s", filepath.Base(file), n, r.Reason)
			}
		}
	}
}

// corpusHeaders returns the headers that came with a payload of the corpus.
func corpusHeaders(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(corpusDir, "headers", filepath.Base(file)))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var headers map[string]string
	if err := json.Unmarshal(text, &headers); err != nil {
		t.Fatal(err)
	}
	return headers
}

// checkRow compares the row of r's message with r. Payloads may share a
// message; the first to arrive is kept, so only those with r's bytes count.
func checkRow(t *testing.T, conn *pgx.Conn, name string, r flowparse.Response) {
	t.Helper()
	n := query[int](t, conn, `SELECT count(*)::int FROM flow_responses WHERE message_id = $1 AND (raw <> $2 OR (
		response = $3::jsonb AND response_status = $4 AND flow_token IS NOT DISTINCT FROM $5 AND token_kind = $6
		AND coalesce(flow_id, '') = $7 AND coalesce(wa_id, '') = $8 AND coalesce(user_id, '') = $9))`,
		r.MessageID, r.Raw, string(r.Answers), string(r.Status), r.FlowToken, string(r.TokenKind), r.FlowID, r.WaID, r.UserID)
	if n != 1 {
		t.Errorf("%s: no such row for message %s", name, r.MessageID)
	}
}

func TestApp_SeedSample(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	body, err := os.ReadFile(corpusDir + "/payloads/kapso_single_seed_sample.json")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"stored", "duplicate", "duplicate"} {
		status, answer := post(t, app.URL()+"/webhooks/kapso", "sha256="+strings.ToUpper(sign(body)), body, nil)
		counts := map[string]any{"stored": 0.0, "duplicate": 0.0, "ignored": 0.0, "quarantined": 0.0, "spooled": 0.0}
		counts[want] = 1.0
		if diff := cmp.Diff(counts, answer); status != http.StatusOK || diff != "" {
			t.Errorf("delivery %d: status %d %s", i+1, status, diff)
		}
	}
	rows, _ := connect(t, cfg.DatabaseURL).Query(t.Context(), `SELECT flow_token, token_kind, flow_id, flow_id_source, wa_id,
		response->>'appointment_date' AS date, sent_at::text AS sent_at, convert_from(raw, 'UTF8') AS raw FROM flow_responses`)
	got, err := pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{
		"flow_token": "1197715005513101", "token_kind": "flow_id", "flow_id": "1197715005513101", "flow_id_source": "token_shape",
		"wa_id": "15551234567", "date": "2024-01-15", "sent_at": "2024-01-01 00:00:00+00", "raw": string(body),
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestApp_UnsignedIsNeverKept(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	body := []byte(`not even json`)
	for _, signature := range []string{"", "sha256=", sign([]byte("another body")), simulate.Sign("another secret", body)} {
		if status, answer := post(t, app.URL()+"/webhooks/kapso", signature, body, nil); status != http.StatusUnauthorized {
			t.Errorf("signature %q: %d %v", signature, status, answer)
		}
	}
	conn := connect(t, cfg.DatabaseURL)
	if n := query[int](t, conn, "SELECT (SELECT count(*) FROM flow_responses)::int + (SELECT count(*) FROM quarantine)::int"); n != 0 {
		t.Errorf("%d rows were made", n)
	}
	// The same bytes, signed, are kept for a person to look at.
	if status, answer := post(t, app.URL()+"/webhooks/kapso", sign(body), body, nil); status != http.StatusOK || answer["quarantined"] != 1.0 {
		t.Errorf("signed junk: %d %v", status, answer)
	}
}

func TestApp_ManyItemsFromManySenders(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	report, err := simulate.Run(t.Context(), simulate.Config{
		URL: app.URL(), Secret: testSecret, Count: 300, Concurrency: 32, Batch: 7, Mix: mixOf(t, "default=5,custom=5,other=2,duplicate=2,odd=2"),
	})
	if err != nil || report.Accepted != 300 || report.Unexpected != 0 {
		t.Fatalf("%v\n%s", err, report)
	}
	stored := query[int](t, connect(t, cfg.DatabaseURL), "SELECT count(*)::int FROM flow_responses")
	if int64(stored) != report.Items.Stored {
		t.Errorf("%d rows, %d were reported as stored", stored, report.Items.Stored)
	}
}

func mixOf(t *testing.T, text string) simulate.Mix {
	t.Helper()
	m, err := simulate.ParseMix(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestApp_HealthReadinessMetrics(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	body := []byte(`{"message":{"id":"m1","type":"text"}}`)
	post(t, app.URL()+"/webhooks/kapso", sign(body), body, nil)
	if status, text := get(t, app.URL()+"/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d %s", status, text)
	}
	status, text := get(t, app.URL()+"/readyz")
	var ready struct{ Status string }
	if err := json.Unmarshal([]byte(text), &ready); err != nil || status != http.StatusOK || ready.Status != "ok" {
		t.Errorf("readyz: %d %s", status, text)
	}
	_, text = get(t, app.URL()+"/metrics")
	for _, want := range []string{
		`flowkeep_http_requests_total{route="/webhooks/kapso",status="200"} 1`,
		`flowkeep_items_total{outcome="ignored",source="kapso"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestApp_MetricsOnAnAddressOfTheirOwn(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.MetricsAddr = "127.0.0.1:0"
	app := startApp(t, cfg)
	if status, _ := get(t, app.URL()+"/metrics"); status != http.StatusNotFound {
		t.Errorf("main address: %d", status)
	}
	if status, text := get(t, "http://"+app.metrics.Addr().String()+"/metrics"); status != http.StatusOK || !strings.Contains(text, "flowkeep_") {
		t.Errorf("own address: %d %s", status, text)
	}
}

func TestApp_TwoServersStartAtOnce(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.DatabaseURL = postgres.NewEmpty(t)
	var wg sync.WaitGroup
	for range 2 {
		cfg := cfg
		cfg.DataDir = t.TempDir() // one database, but a spool each
		wg.Go(func() {
			app, err := openApp(t.Context(), cfg, zerolog.Nop(), keepDurably)
			if err != nil {
				t.Error(err)
				return
			}
			if err := app.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestApp_TheFirstStartNeedsItsDatabase(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.DatabaseURL = "postgres://u:very-secret@127.0.0.1:1/none?connect_timeout=1"
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := openApp(ctx, cfg, zerolog.Nop(), keepDurably)
	if err == nil || ctx.Err() != nil || strings.Contains(err.Error(), "very-secret") {
		t.Errorf("%v", err)
	}
}
