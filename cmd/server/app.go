package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"flowkeep/internal/api"
	"flowkeep/internal/backfill"
	"flowkeep/internal/flowparse"
	"flowkeep/internal/localpg"
	"flowkeep/internal/spool"
	"flowkeep/internal/store"
	"flowkeep/internal/store/flows"
	"flowkeep/internal/store/read"
	"flowkeep/internal/store/sends"
	"flowkeep/internal/web"
	"flowkeep/internal/webhook"
)

// How long each part of an orderly end may take: 10 s in all.
const (
	drainTimeout    = 5 * time.Second
	postgresTimeout = 3 * time.Second
)

const (
	writerWorkers = 2
	queueRows     = 8192
	poolSessions  = 8

	// The live heap is small and every request makes garbage: collecting half as
	// often costs a few MiB and saves a tenth of the CPU (docs/performance.md).
	gcPercent = 200

	unverifiedBytes = 16 << 20
	verifiedBytes   = 48 << 20

	// What senders without a secret can make the process hold (docs/security.md).
	strangers        = 1024      // connections that carry nothing verified
	headerBytes      = 4 << 10   // net/http allows 4 KiB more
	memoryLimit      = 128 << 20 // from here on the collector works harder
	metricsRequested = 4         // at the same time; each makes the whole page
)

// App is a running flowkeep. openApp acquires, Serve works, Close gives back
// in reverse.
type App struct {
	cfg      config
	log      zerolog.Logger
	listener net.Listener
	metrics  net.Listener    // nil: /metrics is served beside the rest
	postgres *localpg.Server // nil: DATABASE_URL is set
	url      string          // of the database
	db       *store.DB
	writer   *store.Writer
	spool    *spool.Spool
	keeper   *keeper
	views    *flows.Keeper
	old      *store.Retention
	reader   *read.Reader // nil: nobody may read
	backfill *backfill.Watch
	hooks    *webhook.Handler
	server   *http.Server
	aside    *http.Server // serves metrics
	stopping atomic.Bool
}

// openApp takes the address, reaches the database and brings its schema up to
// date. On an error nothing is left behind. sinkOf says where deliveries go:
// its keeper, but for benchmarks that compare it with other ways.
func openApp(ctx context.Context, cfg config, log zerolog.Logger, sinkOf func(*App) webhook.Sink) (_ *App, err error) {
	a := &App{cfg: cfg, log: log}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if err := makeDataDir(cfg.DataDir); err != nil {
		return nil, err
	}
	secrets, err := kapsoSecrets(cfg)
	if err != nil {
		return nil, err
	}
	if a.listener, err = listen(ctx, cfg.Addr, "FLOWKEEP_ADDR"); err != nil {
		return nil, err
	}
	if cfg.MetricsAddr != "" {
		if a.metrics, err = listen(ctx, cfg.MetricsAddr, "FLOWKEEP_METRICS_ADDR"); err != nil {
			return nil, err
		}
	}
	if err := a.openStore(ctx); err != nil {
		return nil, err
	}
	a.route(secrets, sinkOf(a))
	return a, nil
}

func listen(ctx context.Context, addr, variable string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen (%s): %w", variable, err)
	}
	return l, nil
}

// openStore opens the spool and the database, in this order: what is spooled
// must be safe whatever the database does.
func (a *App) openStore(ctx context.Context) (err error) {
	a.spool, err = spool.Open(filepath.Join(a.cfg.DataDir, "spool"), spool.Options{MaxBytes: a.cfg.SpoolMaxBytes, Log: a.log})
	if err != nil {
		return err
	}
	if a.url, a.postgres, err = startDatabase(ctx, a.cfg); err != nil {
		return err
	}
	if a.db, err = store.Open(a.url, poolSessions, a.log); err != nil {
		return err
	}
	a.writer = store.NewWriter(a.db, writerWorkers, queueRows, a.log)
	a.writer.LimitQuarantine(store.QuarantineLimit{Records: a.cfg.QuarantineMaxRecords, Bytes: a.cfg.QuarantineMaxBytes})
	if a.views, err = flows.Open(a.url, a.cfg.FlowIDs, a.log); err != nil {
		return err
	}
	a.writer.Tell(a.views.Saw)
	a.old = store.NewRetention(a.db, time.Duration(a.cfg.Retention), a.log)
	if len(a.cfg.apiTokens) > 0 {
		if a.reader, err = read.Open(a.url, api.Sessions); err != nil {
			return err
		}
	}
	a.keeper = newKeeper(a.writer, a.spool, a.db, flowparse.New(a.cfg.FlowIDs), a.log)
	if err := a.openBackfill(); err != nil {
		return err
	}
	return a.meetDatabase(ctx)
}

// route builds the addresses and the servers behind them.
func (a *App) route(kapsoSecrets []string, sink webhook.Sink) {
	reg := prometheus.NewRegistry()
	a.hooks = webhook.New(webhook.Config{
		KapsoSecrets:    kapsoSecrets,
		MetaAppSecrets:  a.cfg.MetaAppSecrets,
		MetaVerifyToken: a.cfg.MetaVerifyToken,
		KnownFlowIDs:    a.cfg.FlowIDs,
		MaxBodyBytes:    a.cfg.MaxBodyBytes,
		UnverifiedBytes: unverifiedBytes,
		VerifiedBytes:   verifiedBytes,
	}, sink, reg)
	a.registerMetrics(reg)

	r := chi.NewRouter()
	r.Use(web.Observe(a.log, reg))
	r.NotFound(web.NotFound)
	r.MethodNotAllowed(web.MethodNotAllowed)
	a.hooks.Routes(r)
	if a.reader != nil {
		api.New(a.reader, a.cfg.apiTokens).Routes(r)
	}
	r.Get("/healthz", alive)
	r.Get("/readyz", (&readiness{app: a}).serve)

	numbers := promhttp.HandlerFor(reg, promhttp.HandlerOpts{DisableCompression: true, MaxRequestsInFlight: metricsRequested})
	if a.metrics == nil {
		r.Method(http.MethodGet, "/metrics", numbers)
	} else {
		mux := chi.NewRouter()
		mux.Method(http.MethodGet, "/metrics", numbers)
		a.aside = newServer(mux, a.log)
	}
	a.server = newServer(r, a.log)
}

// newServer bounds what a slow or hostile sender can hold.
func newServer(h http.Handler, log zerolog.Logger) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      25 * time.Second, // what is left after reading must cover putTimeout and spoolTimeout
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          web.ServerLog(log),

		DisableGeneralOptionsHandler: true, // "OPTIONS *" too is one of ours: a 404, logged and counted
	}
	web.NewCrowd(strangers).Bound(s)
	return s
}

// Serve answers until ctx ends, then finishes what is in hand. An error means
// that it stopped for another reason.
func (a *App) Serve(ctx context.Context) error {
	failed := make(chan error, 2)
	go func() { failed <- a.server.Serve(a.listener) }()
	if a.aside != nil {
		go func() { failed <- a.aside.Serve(a.metrics) }()
	}
	background, stop := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()
	tasks.Go(func() { a.keeper.drain(background) })
	tasks.Go(func() { a.views.Run(background) })
	tasks.Go(func() { a.old.Run(background) })
	tasks.Go(func() { sends.Link(background, a.views, a.log) })
	if a.cfg.BackfillEvery > 0 {
		tasks.Go(func() { a.backfill.Run(background) })
	}
	if a.postgres != nil {
		tasks.Go(func() { a.tendPostgres(background) })
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	a.stopping.Store(true)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := a.server.Shutdown(drain); err != nil {
		a.log.Warn().Err(err).Msg("some requests did not end in time")
		return errors.Join(a.server.Close(), closeServer(a.aside))
	}
	return closeServer(a.aside)
}

func closeServer(s *http.Server) error {
	if s == nil {
		return nil
	}
	return s.Close()
}

// Close gives everything back in reverse. Serve must have returned.
func (a *App) Close() error {
	var errs []error
	if a.writer != nil {
		a.writer.Close()
	}
	if a.views != nil {
		a.views.Close()
	}
	if a.reader != nil {
		a.reader.Close()
	}
	if a.backfill != nil {
		a.backfill.Close()
	}
	if a.db != nil {
		a.db.Close()
	}
	if a.spool != nil {
		errs = append(errs, a.spool.Close())
	}
	for _, l := range []net.Listener{a.listener, a.metrics} {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("close listener: %w", err))
		}
	}
	if a.postgres != nil {
		ctx, cancel := context.WithTimeout(context.Background(), postgresTimeout)
		defer cancel()
		errs = append(errs, a.postgres.Stop(ctx))
	}
	return errors.Join(errs...)
}

// URL returns the address that reaches the server from this machine.
func (a *App) URL() string {
	addr := a.listener.Addr().(*net.TCPAddr) //nolint:forcetypeassert // listen makes TCP only
	host := "127.0.0.1"
	if !addr.IP.IsUnspecified() {
		host = addr.IP.String()
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(addr.Port))
}
