package spool

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// appendForEver is a process that appends and removes until it is killed. It
// prints "+id" when a record was accepted, and "-id" before it is removed.
func appendForEver(dir string) {
	s, err := Open(dir, Options{})
	if err != nil {
		fmt.Fprintln(os.Stdout, "cannot open:", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(os.Stdout, format+"\n", args...)
	}
	start := int(time.Now().UnixNano() / 1000 % 1e12)
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				id := start + i*8 + w
				if err := s.Append(context.Background(), []Record{numbered(id, 200+i%7*900)}); err != nil {
					say("cannot append: %v", err)
				}
				say("+%d", id)
			}
		}()
	}
	for {
		entries, err := s.Oldest(rand.IntN(40), 1<<20)
		if err != nil {
			say("cannot read: %v", err)
		}
		if s.Stats().Records < 100 {
			continue
		}
		for _, e := range entries {
			say("-%s", e.IdempotencyKey)
		}
		if err := s.Remove(keys(entries)...); err != nil {
			say("cannot remove: %v", err)
		}
	}
}

// child is this test binary as another process, with the spool in that folder.
func child(t testing.TB, role, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), self)
	c.Dir = filepath.Dir(dir)
	c.Env = append(os.Environ(), childEnv+"="+role)
	c.Stderr = os.Stderr
	return c
}

func TestSpool_KeepsWhatItAcceptedWhenKilled(t *testing.T) {
	t.Parallel()
	dir := fastFolder(t)
	accepted := make(map[int]bool)
	deadline := time.Now().Add(2 * time.Second)
	kills := 0
	for ; kills < 25 && time.Now().Before(deadline); kills++ {
		runAndKill(t, dir, 1+rand.IntN(400), accepted)
		s := open(t, dir, Options{})
		if got := s.Stats(); got.SetAside != 0 || got.Err != nil {
			t.Fatalf("after kill %d: %+v", kills, got)
		}
		there := make(map[int]bool)
		for _, e := range all(t, s) {
			id, err := strconv.Atoi(e.IdempotencyKey)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "record", e.Body, numbered(id, len(e.Body)).Body)
			there[id] = true
		}
		for id := range accepted {
			if !there[id] {
				t.Fatalf("kill %d: record %d was accepted and is lost, of %d", kills, id, len(accepted))
			}
		}
		inOrder(t, s)
		closeSpool(t, s)
	}
	t.Logf("%d kills, %d records accepted and not removed at the last", kills, len(accepted))
}

// runAndKill lets a child say some lines and kills it. accepted becomes what it
// accepted and did not begin to remove.
func runAndKill(t testing.TB, dir string, lines int, accepted map[int]bool) {
	t.Helper()
	c := child(t, "append", dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	for n := 0; said.Scan(); n++ { // what it said before it died counts too
		if n == lines {
			_ = c.Process.Kill()
		}
		line := said.Text()
		id, err := strconv.Atoi(strings.TrimLeft(line, "+-"))
		switch {
		case err != nil:
			t.Errorf("child: %s", line)
		case line[0] == '-':
			delete(accepted, id)
			accepted[-id] = false
		default:
			if _, removed := accepted[-id]; !removed {
				accepted[id] = true
			}
		}
	}
	_ = c.Wait()
	for id, there := range accepted {
		if !there {
			delete(accepted, id)
		}
	}
}
