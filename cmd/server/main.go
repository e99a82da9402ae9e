// Command flowkeep receives WhatsApp webhooks from Kapso and Meta and keeps
// every Flow response in Postgres. This package holds the command table, the
// configuration, and the App that wires the rooms and closes them in reverse.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// version is stamped by the linker; empty in a plain build.
var version string

// program is what a command may touch of the world outside.
type program struct {
	environ []string // NAME=value
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
}

// command is one word after the binary's name.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, p program, args []string) error
}

// errUsage marks a fault in how the command was called.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := program{environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	code := run(ctx, p, os.Args[1:])
	stop()
	os.Exit(code)
}

func commands() []command {
	return []command{
		{"serve", "receive deliveries (the default)", serve},
		{"migrate", "up, down or status: the database's schema", migrate},
		{"quarantine", "list, show, replay or discard what could not be read or stored", quarantine},
		{"flows", "list the flows and their views; name, retype, retain or sync them", flowViews},
		{"erase", "remove a person or a message for good, and print a receipt", erase},
		{"export", "write responses to stdout, as NDJSON or CSV", export},
		{"send", "flow or template: send a flow, and register it", send},
		{"template", "create: a template with a FLOW button", template},
		{"sends", "import what was sent by other means into the register of sends", registerSends},
		{"backfill", "fetch what never arrived from Kapso's history", backfillNow},
		{"webhook", "check, create, resume or test the webhook at Kapso", webhookDoctor},
		{"simulate", "send signed, realistic deliveries to an address", simulateTraffic},
		{"health", "ask the server on this machine whether it is ready", health},
		{"version", "print the version", printVersion},
		{"help", "print this", help},
	}
}

// run executes one command and returns the exit code: 0 done, 1 failed, 2 the
// call itself was wrong.
func run(ctx context.Context, p program, args []string) int {
	name := "serve"
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	switch name {
	case "-h", "-help", "--help":
		name = "help"
	case "-v", "-version", "--version":
		name = "version"
	}
	for _, c := range commands() {
		if c.name != name {
			continue
		}
		err := c.run(ctx, p, args)
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errUsage):
			fmt.Fprintf(p.stderr, "flowkeep %s: %v\n", name, err)
			return 2
		}
		fmt.Fprintf(p.stderr, "flowkeep %s: %v\n", name, err)
		return 1
	}
	fmt.Fprintf(p.stderr, "flowkeep: there is no command %q; \"flowkeep help\" lists them\n", name)
	return 2
}

// parseFlags reads a command's flags, and its other words if it takes any.
func parseFlags(p program, flags *flag.FlagSet, args []string, words int) error {
	flags.SetOutput(p.stderr)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() > words {
		return fmt.Errorf("%w: %q is one word too many", errUsage, flags.Arg(words))
	}
	return nil
}

func help(_ context.Context, p program, _ []string) error {
	fmt.Fprint(p.stdout, "flowkeep keeps WhatsApp Flow responses in Postgres.\n\nUsage: flowkeep [command] [flags]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(p.stdout, "  %-10s %s\n", c.name, c.summary)
	}
	fmt.Fprint(p.stdout, "\n\"flowkeep COMMAND -h\" lists a command's flags. Configuration is by environment: see README.md.\n")
	return nil
}

func printVersion(_ context.Context, p program, _ []string) error {
	fmt.Fprintln(p.stdout, "flowkeep", versionName())
	return nil
}

// versionName is the stamped version, else what the module system knows.
func versionName() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
