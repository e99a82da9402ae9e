package localpg

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	pollInterval = 10 * time.Millisecond

	// killAfter is more than the 5 s after which an immediate shutdown itself
	// kills what is left.
	killAfter = 10 * time.Second

	// orphanLimit is how long the backends of a killed server may take to notice.
	orphanLimit = 10 * time.Second
)

// process is a Postgres server that we started.
type process struct {
	cmd     *exec.Cmd
	log     string
	ended   chan struct{}
	waitErr error // read after ended
}

// launch starts the server and returns when it accepts connections.
func (p *place) launch(ctx context.Context, b binaries, settings map[string]string) (*process, error) {
	if err := rotateLog(p.log); err != nil {
		return nil, err
	}
	for began := time.Now(); ; {
		proc, err := p.spawn(b, settings)
		if err != nil {
			return nil, err
		}
		if err = p.waitReady(ctx, proc); err == nil {
			return proc, nil
		}
		proc.abort()
		// After a kill -9 of a server its backends need a moment to notice.
		// Postgres refuses to start beside them, rightly.
		orphans := strings.Contains(err.Error(), "pre-existing shared memory block")
		if !orphans || time.Since(began) > orphanLimit || !pause(ctx) {
			return nil, err
		}
	}
}

// spawn starts the server's process.
func (p *place) spawn(b binaries, settings map[string]string) (*process, error) {
	log, err := openLog(p.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	cmd := p.command(context.Background(), b, "postgres", p.arguments(settings)...)
	cmd.Stdout, cmd.Stderr = log, log
	// An immediate shutdown: it ends within seconds whatever the backends do,
	// and it is safe, for the next start recovers. A fast one can take as long
	// as its checkpoint, and no second signal would come to hurry it.
	cmd.SysProcAttr = p.attributes(syscall.SIGQUIT)

	proc := &process{cmd: cmd, log: p.log, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The signal at our death follows the thread, not the process, so the
		// thread has to stay for as long as the server does.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			proc.waitErr = cmd.Wait()
			close(proc.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("run postgres: %w", p.explain(err, cmd.Path))
	}
	return proc, nil
}

func (p *place) arguments(settings map[string]string) []string {
	all := map[string]string{
		"shared_buffers":  "128MB",
		"max_connections": "50",
		"timezone":        "UTC",
		"log_timezone":    "UTC",
		"log_destination": "stderr",
		// People's answers are in the statements and in the details of errors,
		// and do not belong in a log.
		"log_error_verbosity":     "terse",
		"log_min_error_statement": "panic",
	}
	maps.Copy(all, settings)
	maps.Copy(all, map[string]string{
		"cluster_name":            clusterName,
		"listen_addresses":        "",
		"logging_collector":       "off",
		"port":                    port,
		"unix_socket_directories": p.socketDir,
		"unix_socket_permissions": "0700",
	})
	args := []string{"-D", p.data}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		args = append(args, "-c", name+"="+all[name])
	}
	return args
}

// command prepares a program of Postgres, without SysProcAttr.
func (p *place) command(ctx context.Context, b binaries, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.path(program), args...)
	cmd.Dir = p.dir
	// Neither our secrets nor somebody's PGPORT are for Postgres.
	cmd.Env = []string{"LC_ALL=C"}
	for _, name := range []string{"PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	return cmd
}

// waitReady returns when proc accepts connections. The error says why it does
// not, with the end of the log.
func (p *place) waitReady(ctx context.Context, proc *process) error {
	for {
		select {
		case <-proc.ended:
			return proc.obituary()
		case <-ctx.Done():
			return fmt.Errorf("wait for Postgres: %w%s", ctx.Err(), tailLog(p.log))
		case <-time.After(pollInterval):
		}
		// The pid file is asked first: a connection that comes too early leaves
		// a line in the log.
		f, err := readPIDFile(p.data)
		if err != nil || f.pid != proc.pid() || !f.ready {
			continue
		}
		// It may also be an old file, of a process that had the same pid.
		if answers, err := accepts(ctx, p.socketDir); answers || err != nil {
			return err
		}
	}
}

func (proc *process) pid() int { return proc.cmd.Process.Pid }

// signal reaches nobody if the process has ended.
func (proc *process) signal(sig syscall.Signal) { _ = proc.cmd.Process.Signal(sig) }

// abort shuts the server down at once, without a checkpoint, or else by
// force, and waits for its end.
func (proc *process) abort() {
	proc.signal(syscall.SIGQUIT)
	select {
	case <-proc.ended:
	case <-time.After(killAfter):
		proc.signal(syscall.SIGKILL)
		<-proc.ended
	}
}

// obituary says how an ended process ended.
func (proc *process) obituary() error {
	how := "exit status 0"
	if proc.waitErr != nil {
		how = proc.waitErr.Error()
	}
	return fmt.Errorf("postgres (pid %d) ended: %s%s", proc.pid(), how, tailLog(proc.log))
}

// pause waits a little; false means that ctx has ended.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pollInterval):
		return true
	}
}
