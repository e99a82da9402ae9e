package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Identity names the database that a connection string leads to, without user
// or password: hosts, ports and name.
func Identity(url string) (string, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return "", UnreadableURL(err)
	}
	return strings.Join(places(cfg), ",") + "/" + cfg.Database, nil
}

// places returns every host:port that a connection may be made to.
func places(cfg *pgx.ConnConfig) []string {
	places := []string{fmt.Sprintf("%s:%d", cfg.Host, cfg.Port)}
	for _, f := range cfg.Fallbacks {
		place := fmt.Sprintf("%s:%d", f.Host, f.Port)
		if places[len(places)-1] != place { // TLS fallbacks repeat a host
			places = append(places, place)
		}
	}
	return places
}

// Probe asks whether rows could be inserted now, by inserting none. Unlike a
// ping it notices a locked table and a read-only server.
func (db *DB) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	if _, err := db.insertRows(ctx, nil); err != nil {
		return unavailable(fmt.Errorf("probe: %w", err))
	}
	return nil
}

const promiseSQL = `
SELECT current_setting('fsync') = 'on',
       current_setting('full_page_writes') = 'on',
       current_setting('synchronous_standby_names') <> '',
       (SELECT count(*) FROM pg_stat_replication)::int`

// Doubts returns what in the database's own settings weakens the promise that
// a commit is safe: one sentence each, with what to do. Session settings are
// not among them; checkSession refuses those.
func (db *DB) Doubts(ctx context.Context) ([]string, error) {
	var fsync, pages, synchronous bool
	var standbys int
	if err := db.pool.QueryRow(ctx, promiseSQL).Scan(&fsync, &pages, &synchronous, &standbys); err != nil {
		return nil, fmt.Errorf("read database settings: %w", unavailable(err))
	}
	var doubts []string
	if !fsync {
		doubts = append(doubts, "fsync is off: a crash of the database's machine loses acknowledged responses; set fsync = on")
	}
	if !pages {
		doubts = append(doubts, "full_page_writes is off: a crash of the database's machine can damage it; set full_page_writes = on")
	}
	severalHosts := len(places(db.pool.Config().ConnConfig)) > 1
	if (standbys > 0 || severalHosts) && !synchronous {
		doubts = append(doubts, "there is a standby, and it is asynchronous: a failover to it loses the newest acknowledged responses; set synchronous_standby_names")
	}
	return doubts, nil
}
