package localpg

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

const (
	tailLines = 20
	tailBytes = 8 << 10
)

// rotateLog keeps the log of the run before, and only that one.
func rotateLog(path string) error {
	if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rotate log: %w", err)
	}
	return nil
}

// openLog opens an empty log for a server to append to.
func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// trimLog empties a log of more than limit bytes into path.1 while the server
// writes to it. A line written in the same instant may be lost.
func trimLog(path string, limit int64) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() <= limit {
		return err
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := openLog(path + ".1")
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close(), os.Truncate(path, 0))
}

// tailLog returns the end of the log for an error message. Errors of
// statements are left out: they quote values, which are people's answers.
func tailLog(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	text := make([]byte, min(tailBytes, info.Size()))
	if _, err := f.ReadAt(text, info.Size()-int64(len(text))); err != nil {
		return ""
	}
	if len(text) == tailBytes { // the first line may lack its beginning
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	var kept []string
	dropping := true
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "\t") { // else it goes on from the line before
			dropping = strings.Contains(line, " ERROR:  ")
		}
		if !dropping {
			kept = append(kept, line)
		}
	}
	return lastLines(strings.Join(kept, ""))
}

// lastLines returns the end of text on lines of its own, or "".
func lastLines(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return "\n" + strings.Join(lines, "\n")
}
