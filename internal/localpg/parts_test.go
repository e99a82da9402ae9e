package localpg

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeServer makes a folder with programs that say they are that version.
func fakeServer(t *testing.T, dir, version string) string {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %s'\n", version)
	for _, program := range []string{"postgres", "initdb"} {
		must(t, os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755))
	}
	return dir
}

func TestSearch_Find(t *testing.T) {
	t.Parallel()
	root, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	v9 := fakeServer(t, filepath.Join(root, "lib", "9", "bin"), "9.6.24")
	v14 := fakeServer(t, filepath.Join(root, "lib", "14", "bin"), "14.1 (Debian 14.1-1)")
	v16 := fakeServer(t, filepath.Join(root, "lib", "16", "bin"), "16beta2")
	v13 := fakeServer(t, filepath.Join(root, "other"), "13.0")
	links := filepath.Join(root, "links")
	must(t, os.Mkdir(links, 0o755))
	must(t, os.Symlink(filepath.Join(v14, "postgres"), filepath.Join(links, "postgres")))
	must(t, os.Symlink(filepath.Join(v16, "initdb"), filepath.Join(links, "initdb")))
	config := filepath.Join(root, "config")
	must(t, os.Mkdir(config, 0o755))
	must(t, os.WriteFile(filepath.Join(config, "pg_config"), []byte("#!/bin/sh\necho "+v13+"\n"), 0o755))
	lib := []string{filepath.Join(root, "lib", "*", "bin")}

	tests := []struct {
		name   string
		search search
		major  string
		want   string // "" means ErrNoBinaries
		says   string
	}{
		{name: "highest", search: search{patterns: lib}, want: v16},
		{name: "link in PATH", search: search{path: []string{"relative", links}, patterns: lib}, want: v14},
		{name: "pg_config", search: search{path: []string{config}, patterns: lib}, want: v13},
		{name: "PG_BINDIR", search: search{bindir: v13, path: []string{links}}, want: v13},
		{name: "PG_BINDIR is wrong", search: search{bindir: links + "/no", patterns: lib}, says: "PG_BINDIR"},
		{name: "the data's version", search: search{bindir: v13, patterns: lib}, major: "14", want: v14},
		{name: "the data's version is missing", search: search{patterns: lib}, major: "17", says: "install that version"},
		{name: "only an old one", search: search{bindir: v9}, says: "found: PostgreSQL 9.6"},
		{name: "nothing", search: search{}, says: "apt-get install postgresql"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := test.search.find(t.Context(), test.major)
			if test.want == "" {
				wantError(t, err, ErrNoBinaries, test.says)
				return
			}
			must(t, err)
			if got.dir != test.want {
				t.Errorf("got %s, want %s", got.dir, test.want)
			}
		})
	}
}

func TestSocketDirFor(t *testing.T) {
	t.Parallel()
	long := "/" + strings.Repeat("x", 90)
	if got := socketDirFor("/data/pg", "/tmp", 1); got != "/data/pg/socket" {
		t.Errorf("short: %s", got)
	}
	outside := socketDirFor(long, "/tmp", 1)
	if filepath.Dir(outside) != "/tmp" || outside != socketDirFor(long, "/tmp", 1) {
		t.Errorf("long: %s", outside)
	}
	if outside == socketDirFor(long, "/tmp", 2) || outside == socketDirFor(long+"y", "/tmp", 1) {
		t.Error("shared by another user or folder")
	}
	for _, dir := range []string{"/a b", "/a,b", "/a'b", "/ä"} {
		if got := socketDirFor(dir, "/var/tmp", 1); filepath.Dir(got) != "/var/tmp" {
			t.Errorf("%s: %s", dir, got)
		}
	}
	if got := socketDirFor("/a b", "/my temp", 1); filepath.Dir(got) != "/tmp" {
		t.Errorf("odd temp folder: %s", got)
	}
}

func TestPlace_MakePrivateRefusesPlanted(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	p := &place{}
	must(t, p.makePrivate(filepath.Join(root, "new")))
	must(t, p.makePrivate(filepath.Join(root, "new"))) // our own of before

	open := filepath.Join(root, "open")
	must(t, os.Mkdir(open, 0o755))
	wantError(t, p.makePrivate(open), nil, "is not a folder that only user")
	link := filepath.Join(root, "link")
	must(t, os.Symlink(filepath.Join(root, "new"), link))
	wantError(t, p.makePrivate(link), nil, "is not a folder that only user")
}

func TestPlace_CommandHidesOurEnvironment(t *testing.T) {
	t.Setenv("PGPORT", "1")
	t.Setenv("DATABASE_URL", "secret")
	cmd := (&place{dir: "/"}).command(t.Context(), binaries{dir: "/"}, "postgres")
	for _, pair := range cmd.Env {
		if strings.HasPrefix(pair, "PG") || strings.Contains(pair, "secret") {
			t.Errorf("passed on: %s", pair)
		}
	}
	if !slices.Contains(cmd.Env, "LC_ALL=C") {
		t.Errorf("no locale: %q", cmd.Env)
	}
}

func TestTailLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	if got := tailLog(path); got != "" {
		t.Errorf("no log: %q", got)
	}
	must(t, os.WriteFile(path, []byte("[1] LOG:  one\n[2] ERROR:  bad value \"Ana\n\tMaria\"\n[1] PANIC:  two\n\tmore\n"), 0o600))
	if got, want := tailLog(path), "\n[1] LOG:  one\n[1] PANIC:  two\n\tmore"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	long := strings.Repeat("x", tailBytes) + "\n\ty\n" + strings.Repeat("[1] LOG:  z\n", 2*tailLines)
	must(t, os.WriteFile(path, []byte(long), 0o600))
	if got, want := tailLog(path), strings.Repeat("\n[1] LOG:  z", tailLines); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTrimLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	writer, err := openLog(path)
	must(t, err)
	defer func() { must(t, writer.Close()) }()
	for _, step := range []struct{ write, log, old string }{
		{"12345", "12345", ""},
		{"678", "", "12345678"},
		{"9", "9", "12345678"},
	} {
		_, err := writer.WriteString(step.write)
		must(t, err)
		must(t, trimLog(path, 5))
		old, _ := os.ReadFile(path + ".1")
		if log := readLog(t, path); log != step.log || string(old) != step.old {
			t.Errorf("after %q: log %q, old %q", step.write, log, old)
		}
	}
}
