package flows_test

import (
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"flowkeep/internal/store/flows"
)

func TestOpen_ABadURLKeepsItsPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://u:very-secret@host:notaport/db", "postgres://u:very-secret@ho st/db", "host=h password=very-secret port=x"} {
		if _, err := flows.Open(url, nil, zerolog.Nop()); err == nil || strings.Contains(err.Error(), "very-secret") {
			t.Errorf("%v", err)
		}
	}
}
