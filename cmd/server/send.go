package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"flowkeep/internal/kapso"
)

// outgoing is one message with a flow, as the register has it.
type outgoing struct {
	Wamid, FlowID, FlowToken, Recipient, PhoneNumberID, Kind, Template string
	Context                                                            json.RawMessage
}

// The kinds of message that carry a flow.
const (
	kindInteractive = "interactive"
	kindTemplate    = "template"
)

// register is where each send is written down. It is an interface so that a
// test can let it fail.
type register interface {
	Begin(context.Context, outgoing) (id int64, err error)
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
func sendRegistered(ctx context.Context, reg register, client *kapso.Client, r kapso.Request, m outgoing) (wamid string, err error) {
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
func withRegister(_ context.Context, _ config, do func(register) error) error {
	return do(unregistered{})
}

// unregistered stands in until the table flow_sends is there.
type unregistered struct{}

func (unregistered) Begin(context.Context, outgoing) (int64, error) { return 0, nil }
func (unregistered) Sent(context.Context, int64, string) error      { return nil }
func (unregistered) Failed(context.Context, int64, string) error    { return nil }
func (unregistered) InDoubt(context.Context, int64, string) error   { return nil }
