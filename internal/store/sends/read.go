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
	"strconv"
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
			s.line = line
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
		if err := checkColumn(name); err != nil {
			return Send{}, err
		}
		switch {
		case string(value) == "null":
		case name == "context":
			values[name] = string(value)
		default:
			var text string
			if err := json.Unmarshal(value, &text); err != nil {
				return Send{}, fmt.Errorf("%w: %q is no string", ErrInvalid, name)
			}
			values[name] = text
		}
	}
	return readSend(values)
}

// ReadCSV reads a first line of column names, those of ReadNDJSON in any order,
// and a send a line, context as JSON. An empty field is one that is not there.
// Each error but one of r's own names the line, and ends the list.
func ReadCSV(r io.Reader) iter.Seq2[Send, error] {
	return func(yield func(Send, error) bool) {
		lines := csv.NewReader(r)
		lines.ReuseRecord = true
		header, err := readHeader(lines)
		for err == nil {
			var s Send
			if s, err = readRecord(lines, header); err == nil && !yield(s, nil) {
				return
			}
		}
		if !errors.Is(err, io.EOF) {
			yield(Send{}, err)
		}
	}
}

func readHeader(lines *csv.Reader) ([]string, error) {
	header, line, err := readFields(lines)
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("line 1: %w: it holds no column names", ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	header = slices.Clone(header)
	header[0] = strings.TrimPrefix(header[0], "\ufeff") // Excel begins with a byte order mark
	for i, name := range header {
		if err := checkColumn(name); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if slices.Contains(header[:i], name) {
			return nil, fmt.Errorf("line %d: %w: %q is there twice", line, ErrInvalid, name)
		}
	}
	return header, nil
}

func readRecord(lines *csv.Reader, header []string) (Send, error) {
	record, line, err := readFields(lines)
	if err != nil {
		return Send{}, err
	}
	values := map[string]string{}
	for i, name := range header {
		values[name] = record[i]
	}
	s, err := readSend(values)
	if err != nil {
		return Send{}, fmt.Errorf("line %d: %w", line, err)
	}
	s.line = line
	return s, nil
}

// readFields returns also the line at which the fields begin, since one of them
// may hold line breaks. At the end it fails with io.EOF.
func readFields(lines *csv.Reader) (fields []string, line int, err error) {
	fields, err = lines.Read()
	if fault, ok := errors.AsType[*csv.ParseError](err); ok {
		return nil, 0, fmt.Errorf("line %d: %w: %w", fault.StartLine, ErrInvalid, fault.Err)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read: %w", err)
	}
	line, _ = lines.FieldPos(0) // it panics if there are no fields
	return fields, line, nil
}

// readSend makes a send of the values of its columns.
func readSend(values map[string]string) (Send, error) {
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

func checkColumn(name string) error {
	if slices.Contains(columnNames(), name) {
		return nil
	}
	quoted := strconv.Quote(name)
	if len(name) > 40 {
		quoted = "a name of more than 40 bytes"
	}
	return fmt.Errorf("%w: %s is no column; they are %s", ErrInvalid, quoted, strings.Join(columnNames(), ", "))
}
