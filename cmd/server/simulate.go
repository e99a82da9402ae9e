package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"flowkeep/internal/simulate"
)

// simulateTraffic sends deliveries as Kapso would.
func simulateTraffic(ctx context.Context, p program, args []string) error {
	flags := flag.NewFlagSet("simulate", flag.ContinueOnError)
	c := simulate.Config{}
	flags.StringVar(&c.URL, "url", "http://127.0.0.1:8080", "address of the webhook; without a path, /webhooks/kapso is added")
	flags.StringVar(&c.Secret, "secret", "", "the webhook's secret (default: KAPSO_WEBHOOK_SECRET, else the generated one in the data folder)")
	flags.IntVar(&c.Count, "count", 100, "deliveries to send; 0 = until interrupted")
	flags.Float64Var(&c.Rate, "rate", 0, "deliveries a second; 0 = as fast as they are answered")
	flags.IntVar(&c.Concurrency, "concurrency", simulate.DefaultConcurrency, "requests under way at a time")
	flags.IntVar(&c.Batch, "batch", 1, "messages in a delivery")
	flags.Int64Var(&c.Seed, "seed", 0, "same seed, same traffic; 0 = new message ids")
	mix := flags.String("mix", "", "weights of what to send, such as default=60,custom=25,other=10,duplicate=3,odd=2, or \"responses\"")
	around := loop{program: p}
	inLoop := flags.Bool("loop", false, "play Kapso: send --count flows as \"flowkeep send\" does, and post back their statuses and answers")
	flags.StringVar(&around.listen, "listen", "", "with --loop: play Kapso at this address until interrupted, and send nothing")
	flags.StringVar(&around.fail, "fail", "", "with --loop: how the first sends end, such as 429,cut,ok,500")
	retry := flags.Bool("retry", false, "try a refused delivery again as Kapso does: after 10, 40 and 90 s")
	if err := parseFlags(p, flags, args, 0); err != nil {
		return err
	}
	var err error
	if c.Mix, err = chosenMix(*mix); err != nil {
		return fmt.Errorf("%w: --mix: %w", errUsage, err)
	}
	if c.Secret == "" {
		if c.Secret, err = simulationSecret(p.environ); err != nil {
			return err
		}
	}
	if *retry {
		c.Retry = simulate.KapsoRetry()
	}
	if *inLoop {
		around.traffic = c
		return around.run(ctx)
	}
	if isTerminal(p.stderr) {
		c.Progress = p.stderr
	}
	report, err := simulate.Run(ctx, c)
	if _, printErr := fmt.Fprint(p.stdout, report.String()); printErr != nil {
		return printErr
	}
	if err == nil && report.GivenUp > 0 {
		err = fmt.Errorf("%d deliveries were not answered with 200", report.GivenUp)
	}
	if c.Count == 0 && errors.Is(err, context.Canceled) {
		return nil // an endless run ends by a signal
	}
	return err
}

func chosenMix(text string) (simulate.Mix, error) {
	if text == "" {
		return simulate.DefaultMix(), nil
	}
	return simulate.ParseMix(text)
}

// simulationSecret is the secret of a server that shares our environment.
func simulationSecret(environ []string) (string, error) {
	cfg, err := readConfig(environ)
	if err != nil {
		return "", err
	}
	if len(cfg.KapsoSecrets) > 0 {
		return cfg.KapsoSecrets[0], nil
	}
	text, err := os.ReadFile(secretPath(cfg.DataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: no secret: give --secret, or set KAPSO_WEBHOOK_SECRET or FLOWKEEP_DATA_DIR as the server has them", errUsage)
	}
	if err != nil {
		return "", fmt.Errorf("read generated secret: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
