package sends

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"
)

// maxLine bounds one line of an import, in bytes.
const maxLine = 1 << 20

// columnNames are those of an import: the names of the table's columns.
func columnNames() []string {
	return []string{"wamid", "flow_id", "flow_token", "recipient", "phone_number_id", "kind", "template", "context", "sent_at"}
}

// ReadNDJSON reads one JSON object a line, with members named after the columns
// of flow_sends: wamid and flow_id, and if wanted flow_token, recipient,
// phone_number_id, kind, template, context (an object) and sent_at (RFC 3339).
// Each error names the line, and ends the list.
func ReadNDJSON(r io.Reader) iter.Seq2[Send, error] {
	return func(yield func(Send, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxLine)
		line := 1
		for ; lines.Scan(); line++ {
			if len(bytes.TrimSpace(lines.Bytes())) == 0 {
				continue
			}
			s, err := readObject(lines.Bytes())
			if err != nil {
				yield(Send{}, fmt.Errorf("line %d: %w", line, err))
				return
			}
			if !yield(s, nil) {
				return
			}
		}
		if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
			yield(Send{}, fmt.Errorf("line %d: %w: it has more than %d bytes", line, ErrInvalid, maxLine))
		} else if err != nil {
			yield(Send{}, fmt.Errorf("read line %d: %w", line, err))
		}
	}
}

func readObject(line []byte) (Send, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil || members == nil {
		return Send{}, fmt.Errorf("%w: it is no JSON object", ErrInvalid)
	}
	values := map[string]string{}
	for name, value := range members {
		switch {
		case string(value) == "null":
		case name == "context":
			values[name] = string(value)
		default:
			var text string
			if err := json.Unmarshal(value, &text); err != nil {
				return Send{}, fmt.Errorf("%w: %s is no string", ErrInvalid, columnOr(name))
			}
			values[name] = text
		}
	}
	return readSend(values)
}

// ReadCSV reads a first line of column names, those of ReadNDJSON in any order,
// and a send a line, context as JSON. An empty field is one that is not there.
// Each error names the line, and ends the list.
func ReadCSV(r io.Reader) iter.Seq2[Send, error] {
	return func(yield func(Send, error) bool) {
		lines := csv.NewReader(r)
		lines.ReuseRecord = true
		header, err := lines.Read()
		if err != nil {
			yield(Send{}, fmt.Errorf("line 1: %w: it holds no column names", ErrInvalid))
			return
		}
		header = slices.Clone(header)
		header[0] = strings.TrimPrefix(header[0], "\ufeff") // Excel begins with a byte order mark
		for {
			record, err := lines.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			line, _ := lines.FieldPos(0)
			s, err := readRecord(header, record, err)
			if err != nil {
				yield(Send{}, fmt.Errorf("line %d: %w", line, err))
				return
			}
			if !yield(s, nil) {
				return
			}
		}
	}
}

func readRecord(header, record []string, err error) (Send, error) {
	if fault, ok := errors.AsType[*csv.ParseError](err); ok {
		return Send{}, fmt.Errorf("%w: %w", ErrInvalid, fault.Err)
	}
	if err != nil {
		return Send{}, fmt.Errorf("read: %w", err)
	}
	values := map[string]string{}
	for i, name := range header {
		values[name] = record[i]
	}
	return readSend(values)
}

// readSend makes a send of the values of its columns.
func readSend(values map[string]string) (Send, error) {
	for name := range values {
		if !slices.Contains(columnNames(), name) {
			return Send{}, fmt.Errorf("%w: %s is no column; they are %s", ErrInvalid, columnOr(name), strings.Join(columnNames(), ", "))
		}
	}
	s := Send{
		Wamid: values["wamid"], FlowID: values["flow_id"], FlowToken: values["flow_token"], Recipient: values["recipient"],
		PhoneNumberID: values["phone_number_id"], Kind: values["kind"], Template: values["template"], Context: []byte(values["context"]),
	}
	if at := values["sent_at"]; at != "" {
		var err error
		if s.SentAt, err = time.Parse(time.RFC3339, at); err != nil {
			return Send{}, fmt.Errorf("%w: sent_at is no time like 2026-01-31T12:00:00Z", ErrInvalid)
		}
	}
	if s.Wamid == "" {
		return Send{}, fmt.Errorf("%w: wamid is empty", ErrInvalid)
	}
	return s, s.normalize()
}

// columnOr quotes a name that somebody chose, unless it is long.
func columnOr(name string) string {
	if len(name) > 40 {
		return "a name of more than 40 bytes"
	}
	return fmt.Sprintf("%q", name)
}
