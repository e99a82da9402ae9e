package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"flowkeep/internal/store"
)

// stays is what is said of a record that was replayed in vain.
const stays = "stays"

func orStays(settledAs string) string {
	if settledAs == "" {
		return stays
	}
	return settledAs
}

// recordJSON is a record as --json prints it. A body is in one of two fields,
// by whether it is UTF-8; in a list it is in neither.
type recordJSON struct {
	ID         int64             `json:"id"`
	ReceivedAt time.Time         `json:"received_at"`
	Source     string            `json:"source"`
	Reason     string            `json:"reason"`
	Detail     string            `json:"detail"`
	Headers    map[string]string `json:"headers"`
	Bytes      int64             `json:"bytes"`
	Body       *string           `json:"body,omitempty"`
	BodyBase64 []byte            `json:"body_base64,omitempty"`
	SettledAt  *time.Time        `json:"settled_at"`
	SettledAs  *string           `json:"settled_as"`
}

func toJSON(r store.QuarantineRecord) recordJSON {
	out := recordJSON{
		ID: r.ID, ReceivedAt: r.ReceivedAt.UTC(), Source: r.Source, Reason: r.Reason, Detail: r.Detail,
		Headers: r.Headers, Bytes: r.Bytes, SettledAt: r.SettledAt, SettledAs: r.SettledAs,
	}
	if r.SettledAt != nil {
		utc := r.SettledAt.UTC()
		out.SettledAt = &utc
	}
	if r.Body != nil && utf8.Valid(r.Body) {
		text := string(r.Body)
		out.Body = &text
	} else {
		out.BodyBase64 = r.Body
	}
	return out
}

// encode prints v as one line of JSON.
func encode(to io.Writer, v any) error {
	e := json.NewEncoder(to)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// list prints records without their bodies.
func (w *warden) list(ctx context.Context) error {
	if len(w.ids) > 0 || w.all || w.bodyOnly {
		return fmt.Errorf("%w: list takes no ids, --all or --body", errUsage)
	}
	table := tabwriter.NewWriter(w.stdout, 0, 8, 2, ' ', 0)
	if !w.json {
		fmt.Fprintln(table, "ID\tRECEIVED\tSOURCE\tREASON\tBYTES\tDETAIL")
	}
	for below, left := int64(0), w.limit; w.limit == 0 || left > 0; {
		step := listStep
		if w.limit > 0 {
			step = min(step, left)
		}
		records, err := w.db.QuarantineRecords(ctx, w.filter, below, step)
		if err != nil {
			return err
		}
		for _, r := range records {
			if err := w.row(table, r); err != nil {
				return err
			}
			below = r.ID
		}
		left -= len(records)
		if len(records) < step {
			break
		}
	}
	return table.Flush()
}

func (w *warden) row(table io.Writer, r store.QuarantineRecord) error {
	if w.json {
		return encode(w.stdout, toJSON(r))
	}
	detail := r.Detail
	if r.SettledAs != nil {
		detail = fmt.Sprintf("%s (%s %s)", detail, *r.SettledAs, r.SettledAt.UTC().Format(time.RFC3339))
	}
	_, err := fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%d\t%s\n", r.ID, r.ReceivedAt.UTC().Format(time.RFC3339), r.Source, r.Reason, r.Bytes, detail)
	return err
}

// show prints all of one record.
func (w *warden) show(ctx context.Context) error {
	if len(w.ids) != 1 || (w.filter != store.QuarantineFilter{}) || w.all {
		return fmt.Errorf("%w: show takes the id of one record", errUsage)
	}
	r, err := w.db.QuarantineRecord(ctx, w.ids[0])
	if err != nil {
		return err
	}
	switch {
	case w.bodyOnly:
		_, err = w.stdout.Write(r.Body)
		return err
	case w.json:
		return encode(w.stdout, toJSON(r))
	}
	fmt.Fprintf(w.stdout, "id:          %d\nreceived at: %s\nsource:      %s\nreason:      %s\ndetail:      %s\n",
		r.ID, r.ReceivedAt.UTC().Format(time.RFC3339Nano), r.Source, r.Reason, r.Detail)
	if r.SettledAs != nil {
		fmt.Fprintf(w.stdout, "settled:     %s at %s\n", *r.SettledAs, r.SettledAt.UTC().Format(time.RFC3339))
	}
	fmt.Fprint(w.stdout, "headers:     ")
	if err := encode(w.stdout, r.Headers); err != nil {
		return err
	}
	if isText(r.Body) {
		fmt.Fprintf(w.stdout, "body:        %d bytes\n\n%s\n", r.Bytes, r.Body)
		return nil
	}
	fmt.Fprintf(w.stdout, "body:        %d bytes, not text, in base64\n\n%s\n", r.Bytes, base64.StdEncoding.EncodeToString(r.Body))
	return nil
}

// isText tells whether a body may be printed as it is: it is UTF-8, and nothing
// in it would steer the reader's terminal.
func isText(body []byte) bool {
	return utf8.Valid(body) && strings.IndexFunc(string(body), func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t'
	}) < 0
}

// outcomeJSON is what --json prints of a record that was replayed or discarded.
type outcomeJSON struct {
	ID        int64  `json:"id"`
	SettledAs string `json:"settled_as,omitempty"`
	Reason    string `json:"reason,omitempty"` // why it stays
	Detail    string `json:"detail,omitempty"`
}

// tell says what became of a record. Without --json only what stays is worth a
// line.
func (w *warden) tell(id int64, r store.Replayed) error {
	if w.json {
		return encode(w.stdout, outcomeJSON{ID: id, SettledAs: r.SettledAs, Reason: r.Reason, Detail: r.Detail})
	}
	if r.SettledAs != "" {
		return nil
	}
	_, err := fmt.Fprintf(w.stdout, "%d stays: %s (%s)\n", id, r.Reason, r.Detail)
	return err
}
