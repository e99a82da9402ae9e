package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"flowkeep/internal/flowparse"
	"flowkeep/internal/store"
)

// way is how a group of deliveries reaches the tables.
type way struct {
	name string
	send func(context.Context, *keeper, []flowparse.Delivery) error
}

func (w way) String() string { return w.name }

func ways() []way {
	return []way{
		{"one by one", sendEach},
		{"together", sendTogether},
		{"spooled", sendToSpool},
		{"spooled and drained", func(ctx context.Context, k *keeper, part []flowparse.Delivery) error {
			return errors.Join(sendToSpool(ctx, k, part), drainAll(ctx, k))
		}},
		{"quarantined and replayed", sendThroughQuarantine},
	}
}

func sendEach(ctx context.Context, k *keeper, part []flowparse.Delivery) error {
	for i := range part {
		if err := keepOne(ctx, k, &part[i]); err != nil {
			return err
		}
	}
	return nil
}

func sendTogether(ctx context.Context, k *keeper, part []flowparse.Delivery) error {
	errs := make([]error, len(part))
	var wait sync.WaitGroup
	for i := range part {
		wait.Go(func() { errs[i] = keepOne(ctx, k, &part[i]) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// sendToSpool is sendEach while the database is taken for away.
func sendToSpool(ctx context.Context, k *keeper, part []flowparse.Delivery) error {
	k.away.Store(true)
	defer k.away.Store(false)
	return sendEach(ctx, k, part)
}

// sendThroughQuarantine keeps every item as if nobody could read it, and then
// replays all that waits.
func sendThroughQuarantine(ctx context.Context, k *keeper, part []flowparse.Delivery) error {
	for _, d := range part {
		unread := d
		unread.Responses = nil
		unread.Rejects = append([]flowparse.Reject{}, d.Rejects...)
		for _, r := range d.Responses {
			unread.Rejects = append(unread.Rejects, flowparse.Reject{Reason: flowparse.ReasonUnknownShape, Detail: "not yet", Body: r.Envelope()})
		}
		if err := keepOne(ctx, k, &unread); err != nil {
			return err
		}
	}
	ids, err := k.db.QuarantineIDs(ctx, store.QuarantineFilter{}, 0, 10_000)
	for _, id := range ids {
		_, replayErr := k.writer.Replay(ctx, k.parser, id)
		err = errors.Join(err, replayErr)
	}
	return err
}

// keepOne keeps a delivery and checks that each of its items is counted.
func keepOne(ctx context.Context, k *keeper, d *flowparse.Delivery) error {
	kept, err := k.Keep(ctx, d)
	if items := kept.Stored + kept.Duplicate + kept.Quarantined + kept.Spooled; err == nil && items != len(d.Responses)+len(d.Rejects) {
		err = fmt.Errorf("%d items are %+v", len(d.Responses)+len(d.Rejects), kept)
	}
	return err
}

func drainAll(ctx context.Context, k *keeper) error {
	for more := true; more; {
		var err error
		if more, err = k.drainStep(ctx); err != nil {
			return err
		}
	}
	if left := k.spool.Stats().Records; left > 0 {
		return fmt.Errorf("%d records are left in the spool", left)
	}
	return nil
}
