package localpg

import (
	"errors"
	"testing"
)

func TestJoin(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	if _, err := Join(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("before the start: %v", err)
	}
	s := startServer(t, dir)
	url, err := Join(t.Context(), dir)
	if err != nil || url != s.URL() {
		t.Errorf("%s, %v; the server is at %s", url, err, s.URL())
	}
}
