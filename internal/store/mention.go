package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// What is looked for in a body that nobody could read. A shorter text is no id.
const (
	minMention  = 6    // bytes
	maxMentions = 2000 // of one body and kind; a message mentions some dozens
)

var (
	idRun    = regexp.MustCompile(`[A-Za-z0-9._:+/=-]{6,}`)
	digitRun = regexp.MustCompile(`[0-9]{6,}`)
	phoneRun = regexp.MustCompile(`[0-9][0-9 ().-]{5,}`)
)

// mentions returns what in a body may be the id of a person or of a message:
// each unbroken run of letters, digits and the signs that ids have; each run of
// digits, and the digits of what is written like a phone number; and the
// numbers that wamids hold in base64 (docs/privacy.md). Each comes once, and
// maxMentions of each kind at most, so that one cannot crowd out another.
func mentions(body []byte) []string {
	body = bytes.ReplaceAll(body, []byte(`\/`), []byte(`/`)) // as Meta writes it
	var found []string
	seen, room := map[string]bool{}, maxMentions
	add := func(id string) {
		if len(id) >= minMention && room > 0 && !seen[id] {
			room--
			seen[id] = true
			found = append(found, id)
		}
	}
	for _, run := range idRun.FindAll(body, maxMentions) {
		add(string(run))
		for _, number := range numbersInside(string(run)) {
			add(number)
		}
	}
	room = maxMentions
	for _, run := range digitRun.FindAll(body, maxMentions) {
		add(string(run))
	}
	room = maxMentions
	for _, run := range phoneRun.FindAll(body, maxMentions) {
		add(strings.Map(onlyDigits, string(run)))
	}
	return found
}

// numbersInside returns the numbers that a wamid holds in base64, as far as it
// can be read.
func numbersInside(wamid string) []string {
	encoded, ok := strings.CutPrefix(wamid, "wamid.")
	if !ok {
		return nil
	}
	inside, _ := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	return digitRun.FindAllString(string(inside), -1)
}

// Recipient returns whom a message was sent to, as far as its wamid tells: a
// phone number in digits, or an empty string.
func Recipient(wamid string) string {
	if numbers := numbersInside(wamid); len(numbers) > 0 {
		return numbers[0]
	}
	return ""
}

func onlyDigits(r rune) rune {
	if '0' <= r && r <= '9' {
		return r
	}
	return -1
}

// mentionPage is what some records mention.
type mentionPage struct {
	last      int64 // id of the last record that was read; 0 if there was none
	records   []int64
	mentioned []string // beside the record that mentions it
}

// readMentions reads a page of ids and bodies.
func (db *DB) readMentions(ctx context.Context, sql string, above int64, limit int) (page mentionPage, err error) {
	err = db.twice(ctx, func(conn *pgx.Conn) error {
		page = mentionPage{}
		rows, _ := conn.Query(ctx, sql, above, limit) // ForEachRow returns the error
		var body []byte
		_, err := pgx.ForEachRow(rows, []any{&page.last, &body}, func() error {
			for _, id := range mentions(body) {
				page.records, page.mentioned = append(page.records, page.last), append(page.mentioned, id)
			}
			return nil
		})
		return err
	})
	return page, err
}
