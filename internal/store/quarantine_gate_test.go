package store

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// However many are turned away, the log has a line a minute, and the lines add
// up to all of them.
func TestQuarantineGate_TellsOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := quarantineGate{log: zerolog.New(&log)}
		told := func(want ...string) {
			t.Helper()
			synctest.Wait()
			g.tellMu.Lock() // held by whoever writes the log
			defer g.tellMu.Unlock()
			lines := strings.Split(strings.TrimSpace(log.String()), "\n")
			if len(lines) != len(want) {
				t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), log.String())
			}
			for i := range want {
				if !strings.Contains(lines[i], want[i]) {
					t.Errorf("line %d: %s, want %s", i, lines[i], want[i])
				}
			}
		}
		g.turnAway(1)
		told(`"items":1,"in_all":1`)
		for range 100 {
			g.turnAway(5)
		}
		told(`"items":1,"in_all":1`)
		<-time.After(61 * time.Second)
		told(`"items":1,"in_all":1`, `"items":500,"in_all":501`)
		<-time.After(5 * time.Minute) // nothing to tell
		g.turnAway(2)                 // told at once
		g.turnAway(3)
		told(`"items":1,"in_all":1`, `"items":500,"in_all":501`, `"items":2,"in_all":503`)
		g.close()
		told(`"items":1,"in_all":1`, `"items":500,"in_all":501`, `"items":2,"in_all":503`, `"items":3,"in_all":506`)
	})
}
