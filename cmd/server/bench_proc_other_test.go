//go:build !linux

package main

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"time"
)

// procKnown: CPU and memory of other processes are read from Linux's /proc.
const procKnown = false

func cpuOf(*testing.B, int) time.Duration { return 0 }

func cpuOfFamily(*testing.B, int) time.Duration { return 0 }

func memoryOf(testing.TB, int) memory { return memory{} }

func flush(f *os.File) error { return f.Sync() }

func serverFolder(int) (string, error) {
	return "", errors.New("preloading a library into Postgres needs Linux")
}

func machineNames() (cpu, kernel string) { return runtime.GOARCH, runtime.GOOS }
