package localpg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	oldestMajor = 13

	howToInstall = "install it (Debian, Ubuntu: apt-get install postgresql; " +
		"Fedora: dnf install postgresql-server; macOS: brew install postgresql), " +
		"or set PG_BINDIR to the folder that holds postgres and initdb, " +
		"or set DATABASE_URL to a Postgres elsewhere"
)

// binaries is one installed PostgreSQL.
type binaries struct {
	dir   string // holds postgres and initdb
	major string // "15"; "9.6" for old ones
}

func (b binaries) path(program string) string { return filepath.Join(b.dir, program) }

// search knows where PostgreSQL may be installed.
type search struct {
	bindir   string   // PG_BINDIR
	path     []string // folders of PATH
	patterns []string // of folders where installers put the server, beside PATH
}

// installed is the search of this machine.
func installed(getenv func(string) string) search {
	return search{
		bindir: getenv("PG_BINDIR"),
		path:   filepath.SplitList(getenv("PATH")),
		patterns: []string{
			"/usr/lib/postgresql/*/bin",
			"/usr/pgsql-*/bin",
			"/usr/libexec/postgresql*",
			"/opt/homebrew/opt/postgresql*/bin",
			"/usr/local/opt/postgresql*/bin",
			"/Applications/Postgres.app/Contents/Versions/*/bin",
		},
	}
}

// find returns the first PostgreSQL of the wanted major version; of any, if
// major is empty.
func (s search) find(ctx context.Context, major string) (binaries, error) {
	if s.bindir != "" && !isServerDir(s.bindir) {
		return binaries{}, fmt.Errorf("%w: PG_BINDIR=%s does not hold postgres and initdb", ErrNoBinaries, s.bindir)
	}
	var unfit []string
	for _, dir := range s.folders(ctx) {
		b, err := identify(ctx, dir)
		if err != nil {
			unfit = append(unfit, err.Error())
			continue
		}
		if b.fits(major) {
			return b, nil
		}
		unfit = append(unfit, fmt.Sprintf("PostgreSQL %s in %s", b.major, b.dir))
	}
	if err := ctx.Err(); err != nil {
		return binaries{}, err
	}
	seen := ""
	if len(unfit) > 0 {
		seen = " (found: " + strings.Join(unfit, ", ") + ")"
	}
	if major != "" {
		return binaries{}, fmt.Errorf("%w: the data was written by PostgreSQL %s, which only PostgreSQL %s can read%s; install that version or set PG_BINDIR",
			ErrNoBinaries, major, major, seen)
	}
	return binaries{}, fmt.Errorf("%w: PostgreSQL %d or newer is needed%s; %s", ErrNoBinaries, oldestMajor, seen, howToInstall)
}

func (b binaries) fits(major string) bool {
	if major != "" && major != b.major {
		return false
	}
	n, err := strconv.Atoi(b.major)
	return err == nil && n >= oldestMajor
}

// folders lists every folder that holds a server, the preferred one first.
func (s search) folders(ctx context.Context) []string {
	var dirs []string
	add := func(dir string) {
		if isServerDir(dir) && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if s.bindir != "" {
		add(s.bindir)
	}
	for _, dir := range s.path {
		if !filepath.IsAbs(dir) {
			continue
		}
		// A link in PATH may lead to postgres alone, or beside the initdb of
		// another version: only the folder it leads to is one installation.
		if target, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres")); err == nil {
			add(filepath.Dir(target))
		}
		if config := filepath.Join(dir, "pg_config"); isExecutable(config) {
			if out, err := exec.CommandContext(ctx, config, "--bindir").Output(); err == nil {
				add(strings.TrimSpace(string(out)))
			}
		}
	}
	for _, pattern := range s.patterns {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			continue
		}
		slices.SortStableFunc(matches, func(a, b string) int { return lastNumber(b) - lastNumber(a) })
		for _, dir := range matches {
			add(dir)
		}
	}
	return dirs
}

// lastNumber returns the version in a path like /usr/lib/postgresql/15/bin, or 0.
func lastNumber(path string) int {
	all := regexp.MustCompile(`\d+`).FindAllString(path, -1)
	if len(all) == 0 {
		return 0
	}
	n, err := strconv.Atoi(all[len(all)-1])
	if err != nil {
		return 0
	}
	return n
}

// identify asks the server in dir for its version.
func identify(ctx context.Context, dir string) (binaries, error) {
	b := binaries{dir: dir}
	out, err := exec.CommandContext(ctx, b.path("postgres"), "--version").Output()
	if err != nil {
		return b, fmt.Errorf("%s: %w", b.path("postgres"), err)
	}
	// "postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)", "… 18beta1", "… 9.6.24"
	m := regexp.MustCompile(`\(PostgreSQL\) (9\.\d+|\d+)`).FindSubmatch(out)
	if m == nil {
		return b, fmt.Errorf("%s: not a PostgreSQL version: %q", b.path("postgres"), strings.TrimSpace(string(out)))
	}
	b.major = string(m[1])
	return b, nil
}

func isServerDir(dir string) bool {
	return isExecutable(filepath.Join(dir, "postgres")) && isExecutable(filepath.Join(dir, "initdb"))
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
