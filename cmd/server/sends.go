package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"flowkeep/internal/store/sends"
)

const sendsUsage = `Usage: flowkeep sends import FILE|- [--format csv|ndjson]

  import   register messages with a Flow that went out by other means

FILE has a first line of column names (CSV), or an object a line (NDJSON):
wamid, flow_id, and if wanted flow_token, recipient, phone_number_id, kind,
template, context, sent_at. A wamid that is registered stays as it is.
Who is erased is left out.

`

// registerSends looks after the register of sends.
func registerSends(ctx context.Context, p program, args []string) error {
	format := ""
	flags := flag.NewFlagSet("sends", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(p.stderr, sendsUsage)
		flags.PrintDefaults()
	}
	flags.StringVar(&format, "format", "", "csv or ndjson (default: by the file's name)")
	var words []string
	for rest := args; ; { // flags and words in any order
		if err := parseFlags(p, flags, rest, len(rest)); err != nil {
			return err
		}
		if flags.NArg() == 0 {
			break
		}
		words, rest = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	if len(words) != 2 || words[0] != "import" {
		return fmt.Errorf("%w: say import FILE; \"flowkeep sends -h\" tells more", errUsage)
	}
	file := words[1]
	if format == "" {
		format = formatOf(file)
	}
	read, ok := map[string]func(io.Reader) iter.Seq2[sends.Send, error]{"csv": sends.ReadCSV, "ndjson": sends.ReadNDJSON}[format]
	if !ok {
		return fmt.Errorf("%w: say --format csv or --format ndjson", errUsage)
	}
	cfg, err := readConfig(p.environ)
	if err != nil {
		return err
	}
	input := p.stdin
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return err
		}
		defer func() { _ = opened.Close() }() // it was only read
		input = opened
	}
	return withDatabase(ctx, cfg, func(url string) error {
		return importSends(ctx, p, url, read(bufio.NewReader(input)))
	})
}

// formatOf tells a file's format by its name; empty if it does not.
func formatOf(file string) string {
	for ending, format := range map[string]string{".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"} {
		if strings.HasSuffix(file, ending) {
			return format
		}
	}
	return ""
}

func importSends(ctx context.Context, p program, url string, list iter.Seq2[sends.Send, error]) error {
	r, err := sends.Open(url)
	if err != nil {
		return err
	}
	defer r.Close()
	done, err := r.Import(ctx, list)
	fmt.Fprintf(p.stdout, "%d registered, %d were registered before, %d are erased\n", done.New, done.Known, done.Erased)
	if err != nil {
		return fmt.Errorf("%w\nmend it and import the file again: what is registered stays as it is", err)
	}
	return nil
}
