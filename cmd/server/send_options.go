package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"flowkeep/internal/kapso"
	"flowkeep/internal/store/sends"
)

// sendOptions are the flags of every command that calls Kapso.
type sendOptions struct {
	program
	flags   *flag.FlagSet
	json    string
	dryRun  bool
	context string
	flow    string
}

func newSendOptions(p program, name, usage string) *sendOptions {
	o := &sendOptions{program: p, flags: flag.NewFlagSet(name, flag.ContinueOnError)}
	o.flags.Usage = func() {
		fmt.Fprint(p.stderr, usage)
		o.flags.PrintDefaults()
	}
	o.flags.StringVar(&o.json, "json", "", "a `file` with the SDK's own object, instead of flags; - for standard input")
	o.flags.BoolVar(&o.dryRun, "dry-run", false, "print the request, and send nothing")
	return o
}

func (o *sendOptions) registered(flowMeaning string) {
	o.flags.StringVar(&o.context, "context", "", "a JSON object of your own for the register, such as {\"order\":7}; it is not sent")
	o.flags.StringVar(&o.flow, "flow", "", flowMeaning)
}

// parse reads the flags, and the input from --json if that is given; then the
// input's own flags must not be.
func (o *sendOptions) parse(args []string, input any) error {
	if err := parseFlags(o.program, o.flags, args, 0); err != nil {
		return err
	}
	if o.context != "" {
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(o.context), &object) != nil || object == nil {
			return fmt.Errorf("%w: --context must be a JSON object", errUsage)
		}
	}
	if o.json == "" {
		return nil
	}
	var twice error
	o.flags.Visit(func(f *flag.Flag) {
		_, template := input.(*kapso.TemplateMessage) // has no place for the flow's id
		if f.Name != "json" && f.Name != "dry-run" && f.Name != "context" && (f.Name != "flow" || !template) {
			twice = fmt.Errorf("%w: --json holds the whole object: leave out --%s", errUsage, f.Name)
		}
	})
	if twice != nil {
		return twice
	}
	text, err := o.read()
	if err != nil {
		return fmt.Errorf("--json: %w", err)
	}
	if err := kapso.Decode(text, input); err != nil {
		return fmt.Errorf("%w: --json: %w", errUsage, err)
	}
	return nil
}

// maxInput bounds a message in bytes.
const maxInput = 1 << 20

func (o *sendOptions) read() ([]byte, error) {
	from := o.stdin
	if o.json != "-" {
		file, err := os.Open(o.json)
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }() // it was only read
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, maxInput+1))
	if err == nil && len(text) > maxInput {
		err = fmt.Errorf("more than %d bytes", maxInput)
	}
	return text, err
}

// send sends a request that Request returned with fault.
func (o *sendOptions) send(ctx context.Context, r kapso.Request, fault error, m sends.Send) error {
	m.Context = json.RawMessage(o.context)
	return o.call(r, fault, func(cfg config, client *kapso.Client) error {
		return withRegister(ctx, cfg, func(reg *sends.Register) error {
			wamid, err := sendRegistered(ctx, reg, client, r, m)
			if wamid != "" {
				fmt.Fprintln(o.stdout, printable(wamid))
			}
			return err
		})
	})
}

// call does the work with a client, or prints the request if it is a dry run.
func (o *sendOptions) call(r kapso.Request, fault error, work func(config, *kapso.Client) error) error {
	if errors.Is(fault, kapso.ErrInvalid) {
		return fmt.Errorf("%w: %w", errUsage, fault)
	}
	if fault != nil {
		return fault
	}
	cfg, err := readConfig(o.environ)
	if err != nil {
		return err
	}
	client, err := kapso.New(cfg.KapsoBaseURL, cfg.KapsoAPIKey)
	if err != nil {
		return fmt.Errorf("KAPSO_BASE_URL, KAPSO_API_KEY: %w", err)
	}
	defer client.Close()
	switch {
	case o.dryRun:
		return printRequest(o.stdout, client, r)
	case cfg.KapsoAPIKey == "":
		return kapso.ErrNoKey
	}
	return work(cfg, client)
}

func printRequest(w io.Writer, client *kapso.Client, r kapso.Request) error {
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, r.Body, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "POST %s\nContent-Type: application/json\nX-API-Key: (KAPSO_API_KEY)\n\n%s\n", client.URL(r), pretty.String())
	return err
}
