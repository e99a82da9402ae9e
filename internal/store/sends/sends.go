// Package sends keeps the register of sends, the table flow_sends: each message
// with a Flow that went out, with the sender's own context. It also links
// answers to the flow of the send that they answer, if that was registered
// after them (Link).
//
// Registered is what somebody said: this package, an import, or plain SQL. None
// of them makes any difference.
package sends

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"flowkeep/internal/store"
)

// ErrInvalid means that a send cannot be registered as it is. The message says
// which column is at fault, and does not quote it.
var ErrInvalid = errors.New("invalid send")

// ErrSettled means that a send was settled before, as something else.
var ErrSettled = errors.New("send is settled already")

// The kinds of message that can carry a Flow (kapso-facts.md, section 4).
const (
	KindInteractive = "interactive"
	KindTemplate    = "template"
)

// Send is one message with a Flow. Only FlowID is needed; an empty string or
// nil means that there is none.
type Send struct {
	Wamid         string // at most 512 bytes; empty while it is not known
	FlowID        string // at most 200 bytes
	FlowToken     string // at most 1024 bytes
	Recipient     string // a phone number in any spelling, or a business-scoped user id
	PhoneNumberID string
	Kind          string // KindInteractive, which is the default, or KindTemplate
	Template      string
	Context       json.RawMessage // a JSON object of the sender's own
	SentAt        time.Time       // zero: now

	line int // of the file that it was read from
}

// Register is a session pool for the table flow_sends.
type Register struct {
	pool *pgxpool.Pool
}

const (
	connectTimeout = 3 * time.Second
	maxSessions    = 4
)

// Open prepares a Register for the database at url, any pgx connection string.
// It does not connect. Close ends it.
func Open(url string) (*Register, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, store.UnreadableURL(err)
	}
	cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = maxSessions, 0, 0
	// Nothing is prepared: a pooler might hand the statement to another session.
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "flowkeep sends"
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return &Register{pool: pool}, nil
}

// Close ends every session.
func (r *Register) Close() { r.pool.Close() }

const beginSendSQL = `
INSERT INTO flow_sends (wamid, flow_id, flow_token, recipient, phone_number_id, kind, template, context, sent_at, status)
VALUES (nullif($1::text, ''), $2, nullif($3::text, ''), nullif($4::text, ''), nullif($5::text, ''), $6, nullif($7::text, ''),
	$8::jsonb, coalesce($9::timestamptz, now()), 'pending')
RETURNING id`

// Begin writes a send as pending, before the call that sends it, and returns
// its number. It fails with ErrInvalid if the send cannot be registered; any
// other error means that the database did not take it. Either way nothing may
// be sent.
func (r *Register) Begin(ctx context.Context, s Send) (id int64, err error) {
	if err := s.normalize(); err != nil {
		return 0, err
	}
	err = r.durably(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, beginSendSQL, s.Wamid, s.FlowID, s.FlowToken, s.Recipient, s.PhoneNumberID, s.Kind, s.Template,
			string(s.Context), s.sentAt()).Scan(&id)
	})
	if err != nil {
		return 0, fmt.Errorf("register send: %w", err)
	}
	return id, nil
}

// sentSQL takes over what is registered under the wamid already: a status event
// that carried the flow can be faster than the answer to the call. What it told
// is not taken back. Answers are looked for anew, since the wamid was not known
// before.
const sentSQL = `
WITH other AS (
	DELETE FROM flow_sends WHERE wamid = $2 AND id <> $1
	RETURNING context, status, delivered_at, read_at, failed_at, failure
)
UPDATE flow_sends AS s SET
	wamid = $2, context = coalesce(other.context, '{}') || s.context,
	status = CASE WHEN s.status IN ('pending', 'in_doubt') THEN coalesce(other.status, 'sent') ELSE s.status END,
	delivered_at = coalesce(s.delivered_at, other.delivered_at), read_at = coalesce(s.read_at, other.read_at),
	failed_at = coalesce(s.failed_at, other.failed_at),
	failure = CASE WHEN s.status IN ('pending', 'in_doubt') THEN other.failure ELSE s.failure END,
	sought_at = '-infinity', linked_at = NULL
FROM (SELECT) AS one LEFT JOIN other ON true
WHERE s.id = $1 AND (s.status IN ('pending', 'in_doubt') OR s.wamid = $2)`

// Sent settles a send: it went out as the message wamid. To say it twice is
// harmless. While the database is away, it tries until ctx ends. It fails with
// ErrSettled if the send was settled otherwise, or is not there.
func (r *Register) Sent(ctx context.Context, id int64, wamid string) error {
	if wamid == "" || len(wamid) > maxWamid || !isText(wamid) {
		return fmt.Errorf("%w: wamid is no text of 1 to %d bytes", ErrInvalid, maxWamid)
	}
	return r.settle(ctx, "sent", sentSQL, id, wamid)
}

const failedSQL = `
UPDATE flow_sends SET status = 'failed', failed_at = coalesce(failed_at, clock_timestamp()), failure = nullif(left($2, 50), '')
WHERE id = $1 AND (status IN ('pending', 'in_doubt') OR status = 'failed' AND failure IS NOT DISTINCT FROM nullif(left($2, 50), ''))`

// Failed settles a send that is known not to have gone out. why is a code or a
// stable word of at most 50 characters, never personal text. It repeats itself
// and fails with ErrSettled as Sent does.
func (r *Register) Failed(ctx context.Context, id int64, why string) error {
	return r.settle(ctx, "failed", failedSQL, id, why)
}

const inDoubtSQL = `
UPDATE flow_sends SET status = 'in_doubt', failure = nullif(left($2, 50), '')
WHERE id = $1 AND status IN ('pending', 'in_doubt')`

// InDoubt settles a send that may have gone out: the answer to the call was
// lost. why is as in Failed. Sent or Failed may follow once it is known.
func (r *Register) InDoubt(ctx context.Context, id int64, why string) error {
	return r.settle(ctx, "in doubt", inDoubtSQL, id, why)
}

// settlePause is how long a settlement that failed for the moment waits.
const settlePause = 100 * time.Millisecond

// settle runs sql until it is said whether it settled the send, or ctx ends:
// what is not settled stays pending, and nobody else knows what became of it.
func (r *Register) settle(ctx context.Context, as, sql string, id int64, detail string) error {
	var settled int64
	for {
		err := r.durably(ctx, func(tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, sql, id, detail)
			settled = tag.RowsAffected()
			return err
		})
		if err == nil {
			break
		}
		if passes(err) {
			pause(ctx, settlePause)
		}
		if !passes(err) || ctx.Err() != nil {
			return fmt.Errorf("settle send %d as %s: %w", id, as, err)
		}
	}
	if settled == 0 {
		return fmt.Errorf("%w: %d cannot be settled as %s", ErrSettled, id, as)
	}
	return nil
}

// passes says whether what failed may succeed in a moment: the database is away,
// or somebody is at work on the same row. Of these is 23505: a status event
// inserted the wamid after the statement began, which the next one sees.
func passes(err error) bool {
	state, refused := errors.AsType[refusal](err)
	if !refused {
		return true // no connection
	}
	if state == "23505" || state == "25006" {
		return true
	}
	return len(state) == 5 && slices.Contains([]string{"08", "40", "53", "55", "57"}, string(state[:2]))
}

// durablySQL makes a commit wait for the disk, whatever the role's defaults
// say, and bounds the wait for anybody else.
const durablySQL = `
SELECT set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '2s', true), set_config('statement_timeout', '30s', true)`

// durably does something in one transaction.
func (r *Register) durably(ctx context.Context, do func(pgx.Tx) error) error {
	return hush(pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, durablySQL); err != nil {
			return err
		}
		return do(tx)
	}))
}
