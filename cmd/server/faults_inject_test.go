package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"time"

	"flowkeep/internal/simulate"
	"flowkeep/internal/spool"
)

// atRandom is a moment that no two faults share.
func atRandom(least, most time.Duration) time.Duration { return least + rand.N(most-least) }

func killServer(s *scene, f fault) {
	s.begin()
	for range f.times {
		s.under(atRandom(200*time.Millisecond, 700*time.Millisecond))
		_ = s.end(syscall.SIGKILL)
		s.start()
		s.goesOn()
	}
	s.finish()
}

func killPostgres(s *scene, f fault) {
	s.begin()
	for range f.times {
		s.storesAgain()
		s.under(atRandom(200*time.Millisecond, time.Second))
		s.postgres.kill()
		s.postgres.start()
	}
	s.storesAgain()
	s.finish()
}

func stopPostgres(s *scene, f fault) {
	s.begin()
	s.storesAgain()
	s.postgres.stop()
	s.under(time.Second) // until that is known
	s.ledger.beginTiming()
	s.under(f.lasts - time.Second)
	p99 := s.ledger.endTiming()
	s.postgres.start()
	s.storesAgain()
	s.finish()
	s.remark(fmt.Sprintf("p99 of answers meanwhile %d ms", p99.Milliseconds()))
}

func freezePostgres(s *scene, f fault) {
	s.begin()
	s.storesAgain()
	thaw := s.postgres.freeze()
	s.under(f.lasts)
	thaw()
	s.storesAgain()
	s.finish()
}

func killServerWithSpool(s *scene, f fault) {
	s.begin()
	s.storesAgain()
	s.postgres.stop()
	for range f.times {
		s.spools(200)
		_ = s.end(syscall.SIGKILL)
		s.start()
		s.goesOn()
	}
	s.postgres.start()
	eventually(s.b, recoverLimit, "the spool is being drained", func() bool { return s.ready().Checks.Database == "ok" })
	_ = s.end(syscall.SIGKILL) // once more, in the middle of that
	s.start()
	s.storesAgain()
	s.finish()
}

// spools waits until so many further items are in the spool.
func (s *scene) spools(n int64) {
	s.b.Helper()
	before := s.ledger.now().items.Spooled
	eventually(s.b, recoverLimit, "items are spooled", func() bool { return s.ledger.now().items.Spooled >= before+n })
}

func restartIdlePostgres(s *scene, f fault) {
	s.begin()
	for range f.times {
		s.storesAgain()
		s.under(500 * time.Millisecond)
		s.stopLoad()
		s.postgres.stop()
		s.postgres.start()
		s.load()
	}
	s.storesAgain()
	s.finish()
	if n := s.rows[0].counts.items.Spooled; n > 0 {
		s.b.Errorf("%d items were spooled although Postgres was there", n)
	}
}

const backendsSQL = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flowkeep'"

func lockTheTable(s *scene, f fault) {
	s.begin()
	s.storesAgain()
	release := lockTable(s.b, s.postgres.url(), "flow_responses")
	conn := s.postgres.admin()
	end := time.After(f.lasts)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for locked := true; locked; {
		select {
		case <-end:
			locked = false
		case <-tick.C:
			var n int
			if err := conn.QueryRow(context.Background(), backendsSQL).Scan(&n); err != nil || n > poolSessions {
				s.b.Fatalf("%d backends, %v", n, err)
			}
		}
	}
	release()
	s.storesAgain()
	s.finish()
}

// beginBehindProxy is begin with a proxy before Postgres.
func (s *scene) beginBehindProxy() *proxy {
	s.b.Helper()
	s.postgres = newFaultPostgres(s.b)
	s.postgres.start()
	p := startProxy(s.b, s.postgres.url())
	s.url = p.url
	s.start()
	s.load()
	return p
}

func cutConnections(s *scene, f fault) {
	p := s.beginBehindProxy()
	for i := range f.times {
		s.under(atRandom(20*time.Millisecond, 200*time.Millisecond))
		fired := p.cutNext([]cutMode{cutInside, cutAfter}[i%2])
		select {
		case <-fired:
		case <-time.After(recoverLimit):
			s.b.Fatal("nothing is said to Postgres any more")
		}
	}
	s.storesAgain()
	s.finish()
}

func delayStatements(s *scene, f fault) {
	p := s.beginBehindProxy()
	s.storesAgain()
	p.setDelay(2 * time.Second)
	s.under(f.lasts)
	p.setDelay(0)
	s.storesAgain()
	s.finish()
}

func fillDataFolder(s *scene, f fault) {
	disk := newFullDisk(s)
	s.begin()
	s.storesAgain()
	for range f.times {
		disk.fill()
		s.postgres.stop()
		before := s.ledger.now().refused
		eventually(s.b, recoverLimit, "deliveries are refused", func() bool { return s.ledger.now().refused > before+50 })
		if answer := s.ready(); answer.Status != "unavailable" {
			s.b.Errorf("readyz: %+v", answer)
		}
		disk.makeRoom()
		s.goesOn()
		s.postgres.start()
		s.storesAgain()
		eventually(s.b, drainLimit, "the spool is drained", func() bool { return s.ready().Checks.Spool.Records == 0 })
	}
	s.finish()
	s.injectedBy(disk.means)
}

func terminateServer(s *scene, f fault) {
	s.begin()
	for range f.times {
		s.under(atRandom(200*time.Millisecond, 700*time.Millisecond))
		if err := s.end(syscall.SIGTERM); err != nil {
			s.b.Errorf("after SIGTERM: %v", err)
		}
		s.start()
		s.goesOn()
	}
	s.finish()
}

// setClockBack gives the server a spool of records that were received an hour
// ahead of now, as they lie there when the clock was set back. Half of them are
// an hour old, as after the opposite.
func setClockBack(s *scene, _ fault) {
	s.seed = time.Now().UnixNano()
	traffic, err := simulate.NewTraffic(s.seed+2, 1, simulate.Mix{Default: 2, Custom: 1})
	if err != nil {
		s.b.Fatal(err)
	}
	folder, err := spool.Open(filepath.Join(s.dataDir, "spool"), spool.Options{})
	if err != nil {
		s.b.Fatal(err)
	}
	var records []spool.Record
	for i := range int64(2000) {
		d := traffic.Delivery(i)
		off := time.Hour
		if i%2 == 0 {
			off = -time.Hour
		}
		records = append(records, spool.Record{ReceivedAt: time.Now().Add(off), Source: "kapso", Body: d.Body})
		s.ledger.expect(&d.Items[0], true)
	}
	if err := folder.Append(context.Background(), records); err != nil {
		s.b.Fatal(err)
	}
	if err := folder.Close(); err != nil {
		s.b.Fatal(err)
	}
	s.begin()
	s.storesAgain()
	s.under(2 * time.Second)
	s.finish()
	s.injectedBy("times in the spool, an hour ahead and an hour ago")
}
