package main

import (
	"fmt"
	"syscall"
	"testing"
)

// mountSmallDisk mounts a disk of that size until the benchmark ends.
func mountSmallDisk(b *testing.B, dir string, bytes int) error {
	b.Helper()
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		return err
	}
	b.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			b.Error(err)
		}
	})
	return nil
}
