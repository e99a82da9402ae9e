//go:build !linux

package main

import (
	"errors"
	"testing"
)

func mountSmallDisk(*testing.B, string, int) error {
	return errors.New("small disks need Linux's tmpfs")
}
