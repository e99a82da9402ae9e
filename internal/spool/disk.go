package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	fileName = "spool.db"
	tempName = "spool.db.new" // what becomes the file once it is complete
	lockName = "spool.lock"

	// startOverBytes is the size from which an empty file is replaced by a new
	// one, since bbolt gives nothing back to the disk.
	startOverBytes = 4 << 20

	// retryAfter is how long a file that could not be opened is left alone.
	// Opening reads all of it.
	retryAfter = time.Second
)

// openFunc is os.OpenFile, or what a test puts in its place.
type openFunc func(name string, flag int, perm os.FileMode) (*os.File, error)

// disk is the file and what is known of it. It opens by itself when it is
// used, and again after every failure that leaves doubt. Not safe for
// concurrent use.
type disk struct {
	dir      string
	maxBytes int64
	log      zerolog.Logger
	openFile openFunc

	db       *bolt.DB // nil while it is not open
	file     *os.File // what db has open
	retryAt  time.Time
	err      error  // why the last use failed
	nextKey  uint64 // never used before in this process
	setAside int

	records  int
	bytes    int64
	oldestAt time.Time
	low      uint64              // no record has a lesser key
	gone     map[uint64]struct{} // removed, but still in the file
}

func (d *disk) path() string { return filepath.Join(d.dir, fileName) }
func (d *disk) temp() string { return filepath.Join(d.dir, tempName) }

// use runs op with the file open. If op meets damage, the file is opened
// again, which puts it in order, and op gets a second chance.
func (d *disk) use(op func() error) error {
	err := d.ready()
	if err == nil {
		if err = guarded(op); errors.Is(err, errDamaged) {
			d.log.Error().Err(err).Str("file", d.path()).Msg("spool file failed in use, opening it again")
			d.abandon()
			if err = d.ready(); err == nil {
				if err = guarded(op); errors.Is(err, errDamaged) {
					d.abandon()
				}
			}
		}
	}
	if err != nil {
		d.err = diskError(err)
		return d.err
	}
	return nil
}

// ready opens the file unless it is open.
func (d *disk) ready() error {
	if d.db != nil && !d.inPlace() {
		if err := d.putBack(); err != nil {
			return err
		}
	}
	if d.db != nil {
		return nil
	}
	if d.err != nil && time.Now().Before(d.retryAt) {
		return d.err
	}
	err := d.open()
	if errors.Is(err, errDamaged) {
		if err = d.rebuild(err); err == nil {
			err = d.open()
		}
	}
	if err != nil {
		d.retryAt = time.Now().Add(retryAfter)
	}
	return err
}

// inPlace says whether the open file is still the one that the next start
// would find.
func (d *disk) inPlace() bool {
	open, err := d.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(d.path())
	return err == nil && os.SameFile(open, there)
}

// open takes stock of the file, making one if there is none, and hands it to
// bbolt. Its error is errDamaged when rebuild must have it first.
func (d *disk) open() error {
	s, err := takeStock(d.path(), d.gone)
	missing := isMissing(err)
	if missing || (err == nil && s.records == 0 && s.size > startOverBytes) {
		createErr := d.create(nil, "")
		if missing && createErr != nil {
			return createErr
		}
		if createErr == nil {
			d.gone = nil
			s, err = takeStock(d.path(), nil)
		}
	}
	if errors.Is(err, errDamaged) {
		return &rebuildError{err, s.live}
	}
	if err == nil {
		err = affirm(d.path())
	}
	if err != nil {
		return err
	}
	if d.db, d.file, err = d.openBolt(d.path()); err != nil {
		return err
	}
	d.records, d.bytes, d.oldestAt, d.low = s.records, s.bytes, s.oldestAt, s.first
	d.nextKey = max(d.nextKey, s.last+1, uint64(time.Now().UnixMicro()))
	d.err = nil
	return nil
}

// openBolt opens a file that is in order.
func (d *disk) openBolt(path string) (db *bolt.DB, file *os.File, err error) {
	o := bolt.Options{
		Timeout:      time.Second, // for whoever looks into the file with a tool
		FreelistType: bolt.FreelistMapType,
		NoStatistics: true,
		OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
			file, err = d.openFile(name, flag, perm)
			return file, err
		},
	}
	err = guarded(func() (err error) {
		db, err = bolt.Open(path, 0o600, &o)
		return err
	})
	if errors.Is(err, errDamaged) && file != nil {
		_ = file.Close() // bbolt did not come to it
	}
	if errors.Is(err, berrors.ErrTimeout) {
		err = fmt.Errorf("%w: %s", ErrInUse, path)
	}
	if err != nil {
		return nil, nil, err
	}
	return db, file, nil
}

// create makes a new file, lets fill put records into it, and puts it in the
// place of the old one, which is kept under the name aside unless that is
// empty. Until then the old one is as it was.
func (d *disk) create(fill func(*bolt.DB) error, aside string) error {
	if err := os.Remove(d.temp()); err != nil && !isMissing(err) {
		return err
	}
	if err := d.build(fill); err != nil {
		_ = os.Remove(d.temp())
		return err
	}
	if aside != "" {
		if err := keepAs(d.path(), aside); err != nil {
			return err
		}
	}
	if err := os.Rename(d.temp(), d.path()); err != nil {
		return err
	}
	return syncDir(d.dir)
}

func (d *disk) build(fill func(*bolt.DB) error) error {
	db, file, err := d.openBolt(d.temp())
	if err != nil {
		return err
	}
	err = guarded(func() error {
		err := db.Update(func(tx *bolt.Tx) error {
			_, err := tx.CreateBucket([]byte(bucketName))
			return err
		})
		if err == nil && fill != nil {
			err = fill(db)
		}
		return err
	})
	if closeErr := closeBolt(db, file, err); err == nil {
		err = closeErr
	}
	return err
}

// startOver replaces a file whose records are all safe elsewhere. When there
// is no room for a new file beside it, the old one goes first.
func (d *disk) startOver() error {
	d.close()
	if d.create(nil, "") != nil {
		if err := os.Remove(d.path()); err != nil {
			return err
		}
	}
	d.gone = nil
	return d.ready()
}

func (d *disk) close() {
	if d.db != nil {
		_ = closeBolt(d.db, d.file, nil)
		d.db, d.file = nil, nil
	}
}

// abandon lets go of a file in which bbolt panicked. It may have left its own
// locks locked, so it cannot be asked to close; what it mapped stays mapped.
func (d *disk) abandon() {
	if d.db != nil {
		_ = d.file.Close()
		d.db, d.file = nil, nil
	}
}

// closeBolt closes a file after it was used with the outcome err.
func closeBolt(db *bolt.DB, file *os.File, err error) error {
	if errors.Is(err, errDamaged) {
		return file.Close() // as abandon does
	}
	return guarded(db.Close)
}

// affirm writes what was read of the meta pages once more and syncs it. After
// a failed sync the system shows what it holds in memory as if it were on disk
// and forgets to write it; building upon that could overwrite what the disk
// still points to.
func affirm(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is synced
	l := layout{window: window{file: f}}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	l.size = info.Size()
	if err := l.readMetas(); err != nil {
		return damaged("%v", err)
	}
	metas := make([]byte, 2*l.meta.pageSize)
	if _, err := f.ReadAt(metas, 0); err != nil {
		return err
	}
	if _, err := f.WriteAt(metas, 0); err != nil {
		return err
	}
	return f.Sync()
}

// syncDir makes names in the folder durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it is only read
	return f.Sync()
}
