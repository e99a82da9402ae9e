package localpg

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// attributes puts a process into a group of its own, which Ctrl-C in our
// terminal does not reach, and has it signalled when the thread that starts it
// ends, which must therefore be locked and wait.
func (p *place) attributes(atOurDeath syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: atOurDeath, Credential: p.credential()}
}

// isRunning says whether pid is a live Postgres. A pid file that outlived a
// power cut or a container names a pid that may be anybody's by now.
func isRunning(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), "(postgres) ") && !strings.Contains(string(stat), "(postgres) Z")
}
