package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
)

// maxSetAside is how many damaged files may lie in the folder. A disk that
// damages whatever is put on it must not be filled with copies.
const maxSetAside = 16

// asidePrefix begins the name of a damaged file; a time follows.
const asidePrefix = fileName + ".damaged-"

// guarded runs f and turns a panic into errDamaged, also that of a fault in
// memory that is mapped from a file.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged("panic: %v", p)
		}
	}()
	return f()
}

// rebuildError is errDamaged with what rebuild must know.
type rebuildError struct {
	error
	live map[uint64]struct{} // keys of all records; nil if the file's order is lost
}

func (r *rebuildError) Unwrap() error { return r.error }

// rebuild saves what can be read of a damaged file into a new one and keeps
// the damaged one under another name.
func (d *disk) rebuild(cause error) error {
	d.countAside()
	if d.setAside >= maxSetAside {
		return fmt.Errorf("%d damaged files lie in %s already: %w", d.setAside, d.dir, cause)
	}
	var live map[uint64]struct{}
	if r, ok := errors.AsType[*rebuildError](cause); ok {
		live = r.live
	}
	found := 0
	aside := d.asideName()
	err := d.create(func(db *bolt.DB) (err error) {
		found, err = d.salvage(db, live)
		return err
	}, aside)
	if err != nil {
		return fmt.Errorf("rebuild damaged file: %w", err)
	}
	d.countAside()
	d.gone = nil // nothing of it went into the new file
	event := d.log.Error().Err(cause).Str("file", d.path()).Str("kept_as", aside).Int("records_saved", found)
	if live != nil {
		event = event.Int("records_lost", len(live)-found)
	}
	event.Msg("spool file was damaged: it is kept under another name, what could be read of it goes on")
	return nil
}

// putBack writes the records into a new file, since the one that is open has
// been deleted or replaced by somebody, and the next start would not find it.
func (d *disk) putBack() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	aside := ""
	if _, err := os.Lstat(d.path()); err == nil {
		aside = d.asideName()
	}
	s := salvager{}
	err := d.create(func(db *bolt.DB) error {
		s.db = db
		err := d.each(func(_ uint64, value []byte) (bool, error) {
			return true, s.add(bytes.Clone(value))
		})
		return errors.Join(err, s.commit())
	}, aside)
	if errors.Is(err, errDamaged) {
		d.abandon()
	}
	if err != nil {
		return fmt.Errorf("put back spool file: %w", err)
	}
	d.close()
	d.gone = nil // nothing of it went into the new file
	d.countAside()
	d.log.Error().Str("file", d.path()).Str("other_kept_as", aside).Int("records_saved", s.found).
		Msg("spool file was taken away in use: its records go on in a new one")
	return nil
}

// keepAs gives the file a second name, so that it is never without one, or
// the other name where that cannot be (a folder, some file systems).
func keepAs(path, aside string) error {
	if os.Link(path, aside) == nil {
		return nil
	}
	return os.Rename(path, aside)
}

// asideName returns a name that is free.
func (d *disk) asideName() string {
	base := filepath.Join(d.dir, asidePrefix) + time.Now().UTC().Format("20060102T150405Z")
	name := base
	for i := 2; ; i++ {
		if _, err := os.Lstat(name); isMissing(err) || i > 1000 {
			return name
		}
		name = fmt.Sprintf("%s-%d", base, i)
	}
}

// countAside counts the files that damage left in the folder.
func (d *disk) countAside() {
	names, _ := os.ReadDir(d.dir)
	d.setAside = 0
	for _, n := range names {
		if strings.HasPrefix(n.Name(), asidePrefix) {
			d.setAside++
		}
	}
}

// diskError wraps err for the caller, who must not know of bbolt.
func diskError(err error) error {
	for _, known := range []error{nil, ErrFull, ErrNoSpace, ErrDisk, ErrInUse} {
		if errors.Is(err, known) {
			return err
		}
	}
	if noSpace(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return fmt.Errorf("%w: %w", ErrDisk, err)
}

// noSpace says whether the disk is full, or a quota or limit is reached. bbolt
// keeps only the text of an error that it met while growing the file.
func noSpace(err error) bool {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, errno) || strings.Contains(err.Error(), errno.Error()) {
			return true
		}
	}
	return false
}
