package sends

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"flowkeep/internal/store/flows"
)

// LinkSeekingAgain is Link with another time until answers are looked for again.
func LinkSeekingAgain(ctx context.Context, keeper *flows.Keeper, after time.Duration) {
	l := linker{keeper: keeper, log: zerolog.Nop(), seekAgain: after}
	l.run(ctx)
}
