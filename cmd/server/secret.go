package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// secretPath is where a generated webhook secret lies.
func secretPath(dataDir string) string { return filepath.Join(dataDir, "webhook_secret") }

// makeDataDir creates the data folder. Others may pass through it, since as
// root the private Postgres runs under another user; what lies in it is shut.
func makeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("make data folder (set FLOWKEEP_DATA_DIR to one that can be written): %w", err)
	}
	return nil
}

// kapsoSecrets returns the configured secrets, else the generated one, which
// is made at the first start: there is never an open door.
func kapsoSecrets(c config) ([]string, error) {
	if len(c.KapsoSecrets) > 0 {
		return c.KapsoSecrets, nil
	}
	path := secretPath(c.DataDir)
	if text, err := os.ReadFile(path); err == nil {
		secret := strings.TrimSpace(string(text))
		if secret == "" {
			return nil, fmt.Errorf("read generated secret: %s is empty; delete it to have a new one made", path)
		}
		return []string{secret}, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read generated secret: %w", err)
	}
	secret, err := writeNewSecret(path)
	if err != nil {
		return nil, fmt.Errorf("write generated secret: %w", err)
	}
	return []string{secret}, nil
}

// writeNewSecret puts a new secret at path in one step, so that a crash leaves
// a whole one or none.
func writeNewSecret(path string) (secret string, err error) {
	var bits [32]byte
	_, _ = rand.Read(bits[:]) // crypto/rand never fails
	secret = hex.EncodeToString(bits[:])
	f, err := os.CreateTemp(filepath.Dir(path), ".webhook_secret") // 0600
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(secret + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return secret, nil
}
