package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/spool"
	"flowkeep/internal/store"
	"flowkeep/internal/store/flows"
)

const eraseUsage = `Usage: flowkeep erase --wa-id NUMBER|--user-id ID|--message-id ID [--json]
       flowkeep erase --again [--json]

Removes a person, or one message, from responses, quarantine, the register of
sends and the spool of this data folder, and leaves a tombstone, so that neither another spool, nor a
retry, nor a replay brings them back. docs/privacy.md says what it does not reach.

`

// eraser carries out the command.
type eraser struct {
	program
	waID, userID, messageID string
	again, json             bool
}

// erase removes a person or a message, and prints a receipt.
func erase(ctx context.Context, p program, args []string) error {
	e := &eraser{program: p}
	if err := e.parse(args); err != nil {
		return err
	}
	cfg, err := readConfig(p.environ)
	if err != nil {
		return err
	}
	return withDatabase(ctx, cfg, func(url string) error {
		db, err := store.Open(url, 1, zerolog.Nop())
		if err != nil {
			return err
		}
		defer db.Close()
		if err := db.Check(ctx); err != nil {
			return err
		}
		done, err := e.eraseRows(ctx, db)
		if err != nil {
			return err
		}
		r := newReceipt(done)
		failed := r.eraseRest(ctx, e, cfg, url, done)
		return errors.Join(failed, r.print(p.stdout, e.json))
	})
}

// eraseRest goes on where the rows are deleted. What fails is left, and does not
// keep the receipt from being printed.
func (r *receipt) eraseRest(ctx context.Context, e *eraser, cfg config, url string, done *store.Erasure) error {
	marks := forgetMarks(ctx, url)
	if marks != nil {
		marks = fmt.Errorf("forget marks: %w", marks)
		r.Left = append(r.Left, "marks in flow_catalog, which can hold the id of a message: say the command again")
	}
	if e.again {
		return marks
	}
	found := r.eraseSpool(cfg, done)
	if found != nil {
		r.Left = append(r.Left, "the spool of this data folder, which could not be searched; the server drops what is erased when it drains it: say the command again, to be sure")
	}
	return errors.Join(marks, found)
}

func (e *eraser) parse(args []string) error {
	flags := flag.NewFlagSet("erase", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(e.stderr, eraseUsage)
		flags.PrintDefaults()
	}
	flags.StringVar(&e.waID, "wa-id", "", "the person with this phone `number`; - reads it from standard input, out of the shell's history")
	flags.StringVar(&e.userID, "user-id", "", "the person with this business-scoped user `id`; or -")
	flags.StringVar(&e.messageID, "message-id", "", "the message with this `id`, and nothing else; or -")
	flags.BoolVar(&e.again, "again", false, "delete whatever a tombstone covers: after a restore from a backup")
	flags.BoolVar(&e.json, "json", false, "print the receipt as one JSON object")
	if err := parseFlags(e.program, flags, args, 0); err != nil {
		return err
	}
	given := 0
	for _, id := range []*string{&e.waID, &e.userID, &e.messageID} {
		if *id == "" {
			continue
		}
		given++
		if *id == "-" {
			text, err := io.ReadAll(io.LimitReader(e.stdin, 4096))
			if err != nil {
				return fmt.Errorf("read standard input: %w", err)
			}
			*id = strings.TrimSpace(string(text))
		}
		if *id == "" || len(*id) > 512 || !utf8.ValidString(*id) || strings.ContainsRune(*id, 0) {
			return fmt.Errorf("%w: an id is a text of 1 to 512 bytes", errUsage)
		}
	}
	if e.again && given > 0 || !e.again && given != 1 {
		return fmt.Errorf("%w: say --wa-id, --user-id, --message-id or --again: one of them", errUsage)
	}
	if e.waID != "" {
		e.waID = strings.NewReplacer("+", "", " ", "", "-", "", "(", "", ")", "", ".", "").Replace(e.waID)
		if strings.Trim(e.waID, "0123456789") != "" || len(e.waID) < 6 || len(e.waID) > 32 {
			return fmt.Errorf("%w: --wa-id takes a phone number of 6 to 32 digits, with its country code", errUsage)
		}
	}
	return nil
}

func (e *eraser) eraseRows(ctx context.Context, db *store.DB) (*store.Erasure, error) {
	switch {
	case e.again:
		return db.EraseAgain(ctx)
	case e.messageID != "":
		return db.EraseMessage(ctx, e.messageID)
	}
	return db.ErasePerson(ctx, e.waID+e.userID)
}

// forgetMarks takes ids of messages that are gone out of the catalog.
func forgetMarks(ctx context.Context, url string) error {
	k, err := flows.Open(url, nil, zerolog.Nop())
	if err != nil {
		return err
	}
	defer k.Close()
	return k.ForgetGone(ctx)
}

// eraseSpool removes what the erasure covers from the spool of this data folder.
// A server that runs has the spool to itself, and obeys the tombstone.
func (r *receipt) eraseSpool(c config, done *store.Erasure) error {
	dir := filepath.Join(c.DataDir, "spool")
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		r.Spool = spoolNone
		return nil
	}
	defer func() {
		damaged, _ := filepath.Glob(filepath.Join(dir, "*.damaged-*")) // the pattern is sound
		r.SetAside = len(damaged)
	}()
	s, err := spool.Open(dir, spool.Options{MaxBytes: c.SpoolMaxBytes, Log: zerolog.Nop()})
	if errors.Is(err, spool.ErrInUse) {
		r.Spool = spoolInUse
		return nil
	}
	if err != nil {
		r.Spool = spoolFailed
		return fmt.Errorf("erase from the spool: %w", err)
	}
	defer s.Close() //nolint:errcheck // what was removed is on disk
	parser := flowparse.New(c.FlowIDs)
	keys, err := s.Find(func(record spool.Record) bool {
		d := parser.Parse(flowparse.Input{
			Body: record.Body, Event: record.Event, IdempotencyKey: record.IdempotencyKey, ReceivedAt: record.ReceivedAt,
		})
		return done.Covers(&d)
	})
	if err == nil {
		err = s.Remove(keys...)
	}
	if err != nil {
		r.Spool = spoolFailed
		return fmt.Errorf("erase from the spool: %w", err)
	}
	r.Spool, r.Spooled = spoolSearched, len(keys)
	return nil
}

// What became of the spool in the data folder.
const (
	spoolSearched = "searched"
	spoolInUse    = "in use"
	spoolNone     = "none"
	spoolFailed   = "failed"
)

// receipt is what the command prints. It holds nothing of the person.
type receipt struct {
	Responses  int64      `json:"responses"`
	Quarantine int64      `json:"quarantine"`
	Sends      int64      `json:"sends"` // of the register
	Spooled    int        `json:"spooled"`
	Tombstones []int64    `json:"tombstones"` // ids in the table erasures
	Cutoff     *time.Time `json:"cutoff"`     // null: for ever
	Spool      string     `json:"spool,omitempty"`
	SetAside   int        `json:"set_aside"` // damaged spool files, which are not searched
	Left       []string   `json:"left"`      // what was not reached
}

func newReceipt(done *store.Erasure) *receipt {
	r := &receipt{Responses: done.Responses, Quarantine: done.Quarantined, Sends: done.Sends, Tombstones: append([]int64{}, done.IDs...)}
	if !done.Cutoff.IsZero() {
		utc := done.Cutoff.UTC()
		r.Cutoff = &utc
	}
	return r
}

// whatIsLeft says what the command does not reach.
func (r *receipt) whatIsLeft() []string {
	left := []string{
		"backups and exports that were made before: docs/privacy.md",
		"what Kapso and Meta keep themselves",
	}
	if r.Spool == spoolInUse {
		left = append(left, "the spool of the server that runs here, which drops what is erased when it drains: there is nothing to do")
	}
	if r.SetAside > 0 {
		left = append(left, fmt.Sprintf("%d damaged spool files in the data folder, with \"damaged\" in their names: they were not searched; delete them once they are of no use", r.SetAside))
	}
	return left
}

func (r *receipt) print(w io.Writer, asJSON bool) error {
	r.Left = append(r.Left, r.whatIsLeft()...)
	if asJSON {
		return encode(w, r)
	}
	fmt.Fprintf(w, "responses deleted:           %d\nquarantine records deleted:  %d\nregistered sends deleted:    %d\nspooled records removed:     %d\n", r.Responses, r.Quarantine, r.Sends, r.Spooled)
	if len(r.Tombstones) > 0 {
		until := "it comes, whenever that is"
		if r.Cutoff != nil {
			until = "was sent or received until " + r.Cutoff.Format(time.RFC3339Nano)
		}
		fmt.Fprintf(w, "tombstones:                  %d, for what %s\nerasure ids:                 %s\n",
			len(r.Tombstones), until, strings.Trim(fmt.Sprint(r.Tombstones), "[]"))
	}
	fmt.Fprint(w, "\nnot reached:\n")
	for _, l := range r.Left {
		fmt.Fprintf(w, "  %s\n", l)
	}
	return nil
}
