package main

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"flowkeep/internal/simulate"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every query in the README and in docs/queries.md runs, and none fails on real
// answers.
func TestReadme_Queries(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	app := startApp(t, cfg)
	if _, err := simulate.Run(t.Context(), simulate.Config{URL: app.URL(), Secret: testSecret, Count: 200, Mix: mixOf(t, "default=5,custom=5,odd=2")}); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, cfg.DatabaseURL)
	viewOf(t, cfg.DatabaseURL, "notes")
	mustRun(t, cfg.DatabaseURL, "flows", "name", "1197715005513101", "booking")
	if _, err := conn.Exec(t.Context(), `CREATE TABLE bookings AS SELECT flow_token AS token, 'Dr. Who' AS doctor FROM flows.unlinked WHERE token_kind = 'custom'`); err != nil {
		t.Fatal(err)
	}
	more, err := os.ReadFile("../../docs/queries.md")
	if err != nil {
		t.Fatal(err)
	}
	queries := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(readme(t)+string(more), -1)
	if len(queries) < 6 {
		t.Errorf("only %d queries found", len(queries))
	}
	for _, q := range queries {
		done, err := conn.Exec(t.Context(), q[1])
		if err != nil {
			t.Errorf("%v:\n%s", err, q[1])
		}
		if strings.Contains(q[1], "flows.") && done.RowsAffected() == 0 {
			t.Errorf("no rows from:\n%s", q[1])
		}
	}
}

func TestReadme_NamesEveryVariableAndCommand(t *testing.T) {
	t.Parallel()
	text := readme(t)
	for field := range reflect.TypeFor[config]().Fields() {
		if name := field.Tag.Get("env"); name != "" && !strings.Contains(text, "| `"+name+"` |") {
			t.Errorf("no row for %s", name)
		}
	}
	for _, c := range commands() {
		if !strings.Contains(text, "`flowkeep "+c.name) {
			t.Errorf("no row for flowkeep %s", c.name)
		}
	}
}
