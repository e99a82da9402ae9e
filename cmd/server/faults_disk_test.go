package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// fullDisk is under the server's data folder.
type fullDisk struct {
	means    string // of injection, where it is not a small disk
	fill     func()
	makeRoom func()
}

const diskBytes = 12 << 20

// newFullDisk puts the data folder on a disk of its own that is small. Where
// nothing may be mounted, a limit on the size of the server's files stands in.
func newFullDisk(s *scene) fullDisk {
	s.b.Helper()
	err := mountSmallDisk(s.b, s.dataDir, diskBytes)
	if err != nil {
		s.environ = append(s.environ, fmt.Sprintf("%s=%d", fileLimitVar, diskBytes/2))
		return fullDisk{
			means: "a limit on the size of files", fill: func() {},
			makeRoom: func() { _ = s.server.cmd.Process.Signal(syscall.SIGUSR1) },
		}
	}
	ballast := filepath.Join(s.dataDir, "ballast")
	return fullDisk{
		fill: func() {
			if err := os.WriteFile(ballast, make([]byte, diskBytes/2), 0o600); err != nil {
				s.b.Fatal(err)
			}
		},
		makeRoom: func() {
			if err := os.Remove(ballast); err != nil {
				s.b.Fatal(err)
			}
		},
	}
}

// fileLimitVar makes a server one that may not write files over so many bytes,
// until SIGUSR1.
const fileLimitVar = "BE_LIMITED_TO_FILE_BYTES"

func init() {
	if text := os.Getenv(fileLimitVar); text != "" {
		if err := limitFiles(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func limitFiles(text string) error {
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit)
	low := limit
	_, scanErr := fmt.Sscan(text, &low.Cur)
	if err := errors.Join(err, scanErr, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &low)); err != nil {
		return err
	}
	room := make(chan os.Signal, 1)
	signal.Notify(room, syscall.SIGUSR1)
	go func() {
		<-room
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return nil
}
