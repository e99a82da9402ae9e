package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrNotRunning says that no server answers on a folder.
var ErrNotRunning = errors.New("no private Postgres is running there")

// Join returns the connection string of the server that another process runs
// on dir: for a command beside a running flowkeep. It lives as long as that
// process. The error is ErrNotRunning if none answers.
func Join(ctx context.Context, dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("resolve folder: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	p := &place{dir: dir, data: filepath.Join(dir, "data")}
	if p.account, err = serverAccount(p.data); err != nil {
		return "", err
	}
	socketDir := socketDirFor(dir, os.TempDir(), p.uid())
	ok, err := accepts(ctx, socketDir)
	if err != nil {
		return "", fmt.Errorf("join the private Postgres in %s: %w", dir, err)
	}
	if !ok {
		return "", fmt.Errorf("%w: %s", ErrNotRunning, dir)
	}
	return connString(socketDir, role, database), nil
}
