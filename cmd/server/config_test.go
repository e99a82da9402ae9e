package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"flowkeep/internal/kapso"
)

func TestConfig_Defaults(t *testing.T) {
	t.Parallel()
	got, err := readConfig([]string{"HOME=/home/ana", "XDG_DATA_HOME=/data"})
	if err != nil {
		t.Fatal(err)
	}
	want := config{Addr: ":8080", MaxBodyBytes: 8 << 20, SpoolMaxBytes: 1 << 30, QuarantineMaxRecords: 100_000, QuarantineMaxBytes: 1 << 30, LogLevel: "info", DataDir: "/data/flowkeep", KapsoBaseURL: kapso.DefaultBaseURL}
	if os.Geteuid() == 0 {
		want.DataDir = "/var/lib/flowkeep"
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(config{}), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestConfig_DataDir(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		vars map[string]string
		uid  int
		want string
	}{
		{map[string]string{"HOME": "/root"}, 0, "/var/lib/flowkeep"},
		{map[string]string{"HOME": "/home/ana"}, 1000, "/home/ana/.local/share/flowkeep"},
		{map[string]string{"HOME": "/home/ana", "XDG_DATA_HOME": "/data"}, 1000, "/data/flowkeep"},
	} {
		if got := defaultDataDir(c.vars, c.uid); got != c.want {
			t.Errorf("%v as %d: %s, want %s", c.vars, c.uid, got, c.want)
		}
	}
}

func TestConfig_ListsFilesAndUnknownNames(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("new, old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readConfig([]string{
		"KAPSO_WEBHOOK_SECRET_FILE=" + file, "FLOWKEEP_FLOW_IDS= 1, 2 ,", "FLOWKEEP_PORT=tcp://10.0.0.1:80", "FLOWKEEP_ADR=:1", "HOME=/h",
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.KapsoSecrets, []string{"new", "old"}) || !slices.Equal(got.FlowIDs, []string{"1", "2"}) {
		t.Errorf("secrets %q, flows %q", got.KapsoSecrets, got.FlowIDs)
	}
	if !slices.Equal(got.unknown, []string{"FLOWKEEP_ADR", "FLOWKEEP_PORT"}) {
		t.Errorf("unknown %q", got.unknown)
	}
}

func TestSecret_IsMadeOnce(t *testing.T) {
	t.Parallel()
	c := config{DataDir: t.TempDir()}
	first, err := kapsoSecrets(c)
	if err != nil || len(first) != 1 || len(first[0]) != 64 {
		t.Fatalf("%q, %v", first, err)
	}
	second, err := kapsoSecrets(c)
	if err != nil || !slices.Equal(first, second) {
		t.Errorf("%v, and then another secret", err)
	}
	if err := os.WriteFile(secretPath(c.DataDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := kapsoSecrets(c); err == nil {
		t.Errorf("an empty file gave %q", got)
	}
}
