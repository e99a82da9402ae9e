package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"flowkeep/internal/kapso"
	"flowkeep/internal/store/sends"
)

// register is where each send is written down. It is an interface so that a
// test can let it fail.
type register interface {
	Begin(context.Context, sends.Send) (id int64, err error)
	Sent(ctx context.Context, id int64, wamid string) error
	Failed(ctx context.Context, id int64, why string) error
	InDoubt(ctx context.Context, id int64, why string) error
}

// settleTime bounds what is written after the call, also when the command was
// interrupted meanwhile.
const settleTime = 10 * time.Second

// sendRegistered writes the message down as pending, sends it, and settles it,
// so that no send is unknown. It returns the wamid also beside an error: then
// the message went out, and the register does not know it.
func sendRegistered(ctx context.Context, reg register, client *kapso.Client, r kapso.Request, m sends.Send) (wamid string, err error) {
	id, err := reg.Begin(ctx, m)
	if err != nil {
		return "", fmt.Errorf("nothing was sent: %w", err)
	}
	wamid, err = client.Send(ctx, r)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	switch {
	case err == nil:
		if err := reg.Sent(ctx, id, wamid); err != nil {
			return wamid, fmt.Errorf("the message was sent, but stays pending in flow_sends (id %d): %w", id, err)
		}
		return wamid, nil
	case errors.Is(err, kapso.ErrInDoubt):
		err = fmt.Errorf("%w\nIt may have arrived. Look for it before you send again: it is number %d in flow_sends", err, id)
		return "", errors.Join(err, reg.InDoubt(ctx, id, kapso.Reason(err)))
	}
	return "", errors.Join(err, reg.Failed(ctx, id, kapso.Reason(err)))
}

// withRegister runs do with the register of sends.
func withRegister(ctx context.Context, cfg config, do func(*sends.Register) error) error {
	return withDatabase(ctx, cfg, func(url string) error {
		reg, err := sends.Open(url)
		if err != nil {
			return err
		}
		defer reg.Close()
		return do(reg)
	})
}
