package main

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Every alert watches a metric that is there, and the runbook says what to do.
func TestRunbook(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile("../../contrib/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	runbook, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	app := startApp(t, testConfig(t))
	junk := []byte("junk")
	if status, answer := post(t, app.URL()+"/webhooks/kapso", sign(junk), junk, nil); status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}
	_, metrics := get(t, app.URL()+"/metrics")
	for _, name := range regexp.MustCompile(`flowkeep_[a-z_]+`).FindAllString(string(rules)+string(runbook), -1) {
		if !strings.Contains(metrics, "# TYPE "+name+" ") {
			t.Errorf("there is no metric %s", name)
		}
	}
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(rules), -1)
	if len(alerts) < 6 {
		t.Errorf("only %d alerts", len(alerts))
	}
	for _, a := range alerts {
		if !strings.Contains(string(runbook), "\n## "+a[1]+"\n") {
			t.Errorf("the runbook lacks %s", a[1])
		}
	}
}
