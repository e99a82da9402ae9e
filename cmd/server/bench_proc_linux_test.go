package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// procKnown says whether CPU and memory of other processes can be read here.
const procKnown = true

// clockTick is the unit of CPU times in /proc, the same on all of Go's ports.
const clockTick = 10 * time.Millisecond

// cpuOf returns the CPU time of a process.
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, ok := readStat(b, strconv.Itoa(pid))
	if !ok {
		b.Fatalf("process %d is gone", pid)
	}
	return stat.own
}

// cpuOfFamily adds that of its children, living and ended.
func cpuOfFamily(b *testing.B, pid int) time.Duration {
	b.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		b.Fatal(err)
	}
	parent, _ := readStat(b, strconv.Itoa(pid))
	sum := parent.own + parent.ended
	for _, dir := range all {
		if child, ok := readStat(b, filepath.Base(dir)); ok && child.parent == pid {
			sum += child.own + child.ended
		}
	}
	return sum
}

// procStat is a part of /proc/PID/stat: CPU times of a process and of its
// children that have ended.
type procStat struct {
	parent     int
	own, ended time.Duration
}

// readStat returns false if there is no such process.
func readStat(b *testing.B, pid string) (procStat, bool) {
	b.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return procStat{}, false
	}
	if err != nil {
		b.Fatal(err)
	}
	// The name, in brackets, may hold anything. The state is what follows it.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	number := func(i int) int {
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			b.Fatalf("/proc/%s/stat: %s", pid, text)
		}
		return n
	}
	return procStat{
		parent: number(1),
		own:    time.Duration(number(11)+number(12)) * clockTick,
		ended:  time.Duration(number(13)+number(14)) * clockTick,
	}, true
}

// memoryOf returns the resident memory of a process.
func memoryOf(b testing.TB, pid int) memory {
	b.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		b.Fatal(err)
	}
	var m memory
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmHWM":
			m.peak = kilobytes << 10
		case "VmRSS":
			m.now = kilobytes << 10
		}
	}
	return m
}

// flush does to a file what Postgres does to its write-ahead log.
func flush(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// serverFolder is where the program of a process lies.
func serverFolder(pid int) (string, error) {
	exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	return filepath.Dir(exe), err
}

// machineNames returns the processor's and the kernel's.
func machineNames() (cpu, kernel string) {
	cpu = "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = " " + strings.TrimSpace(string(text))
	}
	return cpu, "Linux" + kernel
}
