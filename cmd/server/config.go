package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"flowkeep/internal/api"
)

// config is all of the configuration. It comes from the environment only.
type config struct {
	DatabaseURL          string        `env:"DATABASE_URL"`
	KapsoSecrets         []string      `env:"KAPSO_WEBHOOK_SECRET"`
	MetaAppSecrets       []string      `env:"META_APP_SECRET"`
	MetaVerifyToken      string        `env:"META_VERIFY_TOKEN"`
	KapsoAPIKey          string        `env:"KAPSO_API_KEY"`
	KapsoBaseURL         string        `env:"KAPSO_BASE_URL" envDefault:"https://api.kapso.ai/meta/whatsapp"`
	Addr                 string        `env:"FLOWKEEP_ADDR" envDefault:":8080"`
	MetricsAddr          string        `env:"FLOWKEEP_METRICS_ADDR"`
	DataDir              string        `env:"FLOWKEEP_DATA_DIR"`
	FlowIDs              []string      `env:"FLOWKEEP_FLOW_IDS"`
	APITokens            []string      `env:"FLOWKEEP_API_TOKENS"`
	MaxBodyBytes         int64         `env:"FLOWKEEP_MAX_BODY_BYTES" envDefault:"8388608"`
	SpoolMaxBytes        int64         `env:"FLOWKEEP_SPOOL_MAX_BYTES" envDefault:"1073741824"`
	QuarantineMaxRecords int64         `env:"FLOWKEEP_QUARANTINE_MAX_RECORDS" envDefault:"100000"`
	QuarantineMaxBytes   int64         `env:"FLOWKEEP_QUARANTINE_MAX_BYTES" envDefault:"1073741824"`
	Retention            span          `env:"FLOWKEEP_RETENTION"`      // 0: for ever
	BackfillEvery        time.Duration `env:"FLOWKEEP_BACKFILL_EVERY"` // 0: never
	LogLevel             string        `env:"FLOWKEEP_LOG_LEVEL" envDefault:"info"`
	LogFormat            string        `env:"FLOWKEEP_LOG_FORMAT"` // empty: json, or console on a terminal

	apiTokens []api.Token // what is kept of APITokens

	unknown []string // FLOWKEEP_* names that mean nothing to us
}

// secretNames may also be given as NAME_FILE, a file that holds the value.
func secretNames() []string {
	return []string{"DATABASE_URL", "KAPSO_WEBHOOK_SECRET", "META_APP_SECRET", "META_VERIFY_TOKEN", "KAPSO_API_KEY", "FLOWKEEP_API_TOKENS"}
}

// readConfig reads the environment. Every fault is reported at once, and none
// of the messages holds a value of a secret.
func readConfig(environ []string) (config, error) {
	vars := env.ToMap(environ)
	faults := readSecretFiles(vars)
	var c config
	if err := env.ParseWithOptions(&c, env.Options{Environment: vars}); err != nil {
		faults = append(faults, err)
	}
	c.KapsoSecrets, c.MetaAppSecrets, c.FlowIDs = trimmed(c.KapsoSecrets), trimmed(c.MetaAppSecrets), trimmed(c.FlowIDs)
	if strings.TrimSpace(vars["KAPSO_WEBHOOK_SECRET"]) != "" && len(c.KapsoSecrets) == 0 {
		faults = append(faults, errors.New("KAPSO_WEBHOOK_SECRET holds no secret"))
	}
	var err error
	if c.apiTokens, err = readTokens(vars["FLOWKEEP_API_TOKENS"], c.APITokens); err != nil {
		faults = append(faults, err)
	}
	c.APITokens = nil
	for _, bound := range []struct {
		name         string
		value, least int64
	}{
		{"FLOWKEEP_MAX_BODY_BYTES", c.MaxBodyBytes, 1024},
		{"FLOWKEEP_SPOOL_MAX_BYTES", c.SpoolMaxBytes, 1 << 20},
		{"FLOWKEEP_QUARANTINE_MAX_RECORDS", c.QuarantineMaxRecords, 1},
		{"FLOWKEEP_QUARANTINE_MAX_BYTES", c.QuarantineMaxBytes, 1 << 20},
	} {
		if bound.value < bound.least {
			faults = append(faults, fmt.Errorf("%s must be at least %d", bound.name, bound.least))
		}
	}
	if c.Retention != 0 && c.Retention < leastRetention {
		faults = append(faults, errors.New("FLOWKEEP_RETENTION must be at least 1h, or unset to keep for ever"))
	}
	if c.BackfillEvery != 0 && c.BackfillEvery < time.Minute {
		faults = append(faults, errors.New("FLOWKEEP_BACKFILL_EVERY must be at least 1m"))
	}
	if c.BackfillEvery != 0 && c.KapsoAPIKey == "" {
		faults = append(faults, errors.New("FLOWKEEP_BACKFILL_EVERY needs KAPSO_API_KEY"))
	}
	if !slices.Contains([]string{"trace", "debug", "info", "warn", "error"}, c.LogLevel) {
		faults = append(faults, errors.New("FLOWKEEP_LOG_LEVEL must be trace, debug, info, warn or error"))
	}
	if !slices.Contains([]string{"", "json", "console"}, c.LogFormat) {
		faults = append(faults, errors.New("FLOWKEEP_LOG_FORMAT must be json or console"))
	}
	if c.DataDir == "" {
		c.DataDir = defaultDataDir(vars, os.Geteuid())
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		faults = append(faults, fmt.Errorf("FLOWKEEP_DATA_DIR: %w", err))
	}
	c.DataDir = dir
	c.unknown = unknownNames(vars)
	if len(faults) > 0 {
		return config{}, fmt.Errorf("configuration: %w", errors.Join(faults...))
	}
	return c, nil
}

// readTokens refuses a list that says nothing: somebody wanted the API.
func readTokens(text string, list []string) ([]api.Token, error) {
	tokens, err := api.ParseTokens(trimmed(list))
	switch {
	case err != nil:
		return nil, fmt.Errorf("FLOWKEEP_API_TOKENS: %w", err)
	case text != "" && len(tokens) == 0:
		return nil, errors.New("FLOWKEEP_API_TOKENS holds no token")
	}
	return tokens, nil
}

// readSecretFiles puts the content of each NAME_FILE under NAME.
func readSecretFiles(vars map[string]string) (faults []error) {
	for _, name := range secretNames() {
		path := vars[name+"_FILE"]
		if path == "" {
			continue
		}
		if vars[name] != "" {
			faults = append(faults, fmt.Errorf("%s and %s_FILE are both set; keep one", name, name))
			continue
		}
		value, err := os.ReadFile(path)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s_FILE: %w", name, err))
			continue
		}
		if vars[name] = strings.TrimSpace(string(value)); vars[name] == "" {
			faults = append(faults, fmt.Errorf("%s_FILE: the file is empty", name))
		}
	}
	return faults
}

func trimmed(list []string) []string {
	var kept []string
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

func defaultDataDir(vars map[string]string, uid int) string {
	switch {
	case uid == 0:
		return "/var/lib/flowkeep"
	case vars["XDG_DATA_HOME"] != "":
		return filepath.Join(vars["XDG_DATA_HOME"], "flowkeep")
	}
	return filepath.Join(vars["HOME"], ".local", "share", "flowkeep")
}

// unknownNames finds FLOWKEEP_* variables that no field reads: most likely a
// typing error, though Kubernetes sets some of its own for a service.
func unknownNames(vars map[string]string) []string {
	known := map[string]bool{}
	for field := range reflect.TypeFor[config]().Fields() {
		known[field.Tag.Get("env")] = true
	}
	var unknown []string
	for _, name := range secretNames() {
		known[name+"_FILE"] = true
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if strings.HasPrefix(name, "FLOWKEEP_") && !known[name] {
			unknown = append(unknown, name)
		}
	}
	return unknown
}
