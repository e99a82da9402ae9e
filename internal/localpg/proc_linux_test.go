package localpg

import "testing"

func TestServer_DiesWithItsProcessAtOnce(t *testing.T) {
	t.Parallel()
	h := startHelper(t, newDir(t))
	pid := h.pid(t)
	if !isRunning(pid) {
		t.Fatal("the server does not run")
	}
	h.kill(t)
	eventually(t, "end of the server", func() bool { return !isRunning(pid) })
}
