package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/rs/zerolog"
)

// serve runs the server until a signal.
func serve(ctx context.Context, p program, args []string) (err error) {
	if err := parseFlags(p, flag.NewFlagSet("serve", flag.ContinueOnError), args, 0); err != nil {
		return err
	}
	cfg, err := readConfig(p.environ)
	if err != nil {
		return err
	}
	log, err := newLog(p.stderr, cfg)
	if err != nil {
		return err
	}
	for _, name := range cfg.unknown {
		log.Warn().Str("variable", name).Msg("unknown variable is ignored")
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	app, err := openApp(ctx, cfg, log, keepDurably)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	log.Info().Str("version", versionName()).Stringer("address", app.listener.Addr()).
		Bool("private_postgres", app.postgres != nil).Msg("flowkeep is listening")
	if len(cfg.KapsoSecrets) == 0 {
		log.Info().Str("file", secretPath(cfg.DataDir)).Msg("KAPSO_WEBHOOK_SECRET is not set: the generated secret lies in this file")
	}
	if app.postgres != nil {
		app.greet(p.stdout)
	}
	return app.Serve(ctx)
}

// greet tells a newcomer what to do next.
func (a *App) greet(w io.Writer) {
	self, err := os.Executable()
	if err != nil {
		self = "flowkeep"
	}
	fmt.Fprintf(w, "\nflowkeep is running. Deliveries go to\n\n    %s/webhooks/kapso\n", a.URL())
	if len(a.cfg.KapsoSecrets) == 0 {
		fmt.Fprintf(w, "\nThe webhook's secret was generated. It lies in\n\n    %s\n", secretPath(a.cfg.DataDir))
	}
	fmt.Fprintf(w, "\nOpen the database with\n\n%s\n", a.postgres.PsqlCommand())
	fmt.Fprintf(w, "\nSend a first response with\n\nFLOWKEEP_DATA_DIR=%s %s simulate --mix responses --url %s --count 1\n\n", a.cfg.DataDir, self, a.URL())
}

// newLog writes to w: JSON, or something for people on a terminal.
func newLog(w io.Writer, c config) (zerolog.Logger, error) {
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		return zerolog.Logger{}, fmt.Errorf("FLOWKEEP_LOG_LEVEL: %w", err)
	}
	if c.LogFormat == "console" || (c.LogFormat == "" && isTerminal(w)) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly}
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger(), nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
