package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

var errNotReady = errors.New("not ready")

// health asks /readyz, for container health checks: an image without a shell
// has no other way.
func health(ctx context.Context, p program, args []string) error {
	flags := flag.NewFlagSet("health", flag.ContinueOnError)
	url := flags.String("url", "", "address of the server (default: this machine, at FLOWKEEP_ADDR)")
	if err := parseFlags(p, flags, args, 0); err != nil {
		return err
	}
	if *url == "" {
		cfg, err := readConfig(p.environ)
		if err != nil {
			return err
		}
		if *url, err = localURL(cfg.Addr); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(*url, "/")+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("%w: --url: %w", errUsage, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotReady, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("%w: %w", errNotReady, err)
	}
	fmt.Fprint(p.stdout, string(body))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s", errNotReady, resp.Status)
	}
	return nil
}

// localURL turns a listening address into one that can be called.
func localURL(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("FLOWKEEP_ADDR: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}
