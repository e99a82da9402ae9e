//go:build !linux

package localpg

import "syscall"

// attributes puts a process into a group of its own, which Ctrl-C in our
// terminal does not reach. Nothing tells it of our death here: the next Start
// ends it (see endLeftover).
func (p *place) attributes(syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: p.credential()}
}

// isRunning says whether pid is a live process of this user's, or any for root.
func isRunning(pid int) bool { return syscall.Kill(pid, 0) == nil }
