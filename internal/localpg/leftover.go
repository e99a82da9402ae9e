package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clusterName tells our servers from one that somebody started by hand.
const clusterName = "flowkeep"

// leftoverLimit is how long a predecessor may take to end.
const leftoverLimit = 20 * time.Second

// pidFile is what a running server writes about itself into postmaster.pid.
type pidFile struct {
	pid       int
	socketDir string
	ready     bool
}

func readPIDFile(data string) (pidFile, error) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return pidFile{}, err
	}
	// pid, data folder, start time, port, socket folder, address, memory, status
	lines := strings.Split(string(text), "\n")
	if len(lines) < 5 {
		return pidFile{}, errors.New("postmaster.pid is not complete")
	}
	pid, err := strconv.Atoi(lines[0])
	if err != nil {
		return pidFile{}, fmt.Errorf("postmaster.pid: %w", err)
	}
	ready := len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready"
	return pidFile{pid: pid, socketDir: lines[4], ready: ready}, nil
}

// endLeftover waits for the end of a server that outlived the process that
// started it, and shuts it down if it does not know that it is alone. To end
// it is better than to go on with it: the new one is our child, has today's
// settings and costs a fraction of a second. The caller holds the lock, so no
// living flowkeep has it. A server that somebody started by hand is left in
// peace: ErrInUse.
//
// The pid file is never removed: whether it is stale is for Postgres to judge.
func (p *place) endLeftover(ctx context.Context) error {
	f, err := readPIDFile(p.data)
	if err != nil || f.pid <= 0 {
		return nil // none, or one that Postgres will report better
	}
	limit, cancel := context.WithTimeout(ctx, leftoverLimit)
	defer cancel()
	for told := false; isRunning(f.pid); {
		if !told {
			if told, err = p.tellLeftover(limit, f); err != nil {
				return err
			}
		}
		if pause(limit) {
			continue
		}
		if told {
			return fmt.Errorf("%w: a Postgres (pid %d) left by an earlier flowkeep does not end", ErrInUse, f.pid)
		}
		return ctx.Err() // it never answered: perhaps not a server of ours at all
	}
	return nil
}

// tellLeftover shuts down the server of f if it answers and is ours. One that
// does not answer is starting or ending.
func (p *place) tellLeftover(ctx context.Context, f pidFile) (told bool, err error) {
	data, cluster, err := identity(ctx, f.socketDir)
	if err != nil {
		return false, nil //nolint:nilerr // no answer is an answer
	}
	if data, err = filepath.EvalSymlinks(data); err != nil || data != p.data {
		return false, nil //nolint:nilerr // the server of another folder: ours is stale
	}
	if cluster != clusterName {
		return false, fmt.Errorf("%w: a Postgres (pid %d) that flowkeep did not start runs on %s; stop it first",
			ErrInUse, f.pid, p.data)
	}
	if err := syscall.Kill(f.pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
		return false, fmt.Errorf("stop the Postgres (pid %d) left by an earlier flowkeep: %w", f.pid, err)
	}
	return true, nil
}
