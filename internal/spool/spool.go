// Package spool is the durable overflow on local disk, used only while the
// database cannot take what arrives. What Append accepted is on disk and comes
// back from Oldest until it is removed, also after a crash.
//
// Nothing is ever deleted but what the caller removed. A file that turns out to
// be damaged is renamed and kept, what can be read of it goes on in a new one,
// and a loud log line says so; damage is never a reason not to start. A record
// may come twice, after a crash or after damage, and the reader must not mind.
package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// What Open and Append fail with. Each is wrapped with its cause.
var (
	ErrInUse     = errors.New("spool folder is in use by another process")
	ErrFull      = errors.New("spool is full")           // Options.MaxBytes is reached
	ErrQueueFull = errors.New("spool queue is full")     // the disk is slower than what arrives
	ErrNoSpace   = errors.New("no space left for spool") // the disk is full, or a quota or limit is reached
	ErrDisk      = errors.New("spool disk failed")       // any other error of the disk
	ErrClosed    = errors.New("spool is closed")
)

// Record is one item as it must be read again.
type Record struct {
	ReceivedAt     time.Time
	Source         string
	Event          string
	IdempotencyKey string
	Body           []byte
}

// Entry is a record in the spool. Keys ascend in the order of arrival and are
// not used again while the process lives.
type Entry struct {
	Key uint64
	Record
}

// Options of a spool. The zero value is fit for use.
type Options struct {
	MaxBytes int64          // of all records as encoded; 1 GiB if 0
	Log      zerolog.Logger // where damage is told

	openFile openFunc // for tests that need a disk to fail; os.OpenFile if nil
}

// Stats says what the spool holds.
type Stats struct {
	Records  int
	Bytes    int64     // of all records as encoded, to compare with MaxBytes
	MaxBytes int64     // as in the Options
	OldestAt time.Time // when the oldest record was received; zero if there is none
	SetAside int       // damaged files that lie in the folder and wait for a person
	Err      error     // why the disk last failed; nil once it was written to again
}

// Spool is safe for concurrent use.
type Spool struct {
	lock      *os.File
	committer sync.WaitGroup

	queueMu  sync.Mutex
	nonEmpty sync.Cond // on queueMu; the queue has jobs, or the spool is closed
	queue    []*job
	queued   int64 // bytes in queue
	queueMax int64 // bytes
	closed   bool

	diskMu     sync.Mutex // held while the file is in use
	disk       disk
	diskClosed bool

	statsMu sync.Mutex
	stats   Stats
}

// defaultMaxBytes is Options.MaxBytes if none is given, and maxMaxBytes the
// most that bbolt can be trusted to map.
const (
	defaultMaxBytes = 1 << 30
	maxMaxBytes     = 1 << 40
)

// Open takes the folder at path, making it (0700) if need be. It reads
// everything that lies there, about a second for each GiB. A damaged file is
// set aside, and a disk that is full or fails is told by Stats and by Append,
// which try again by themselves; neither stops Open. It fails with ErrInUse
// when another process has the folder, and with ErrDisk when the folder cannot
// be made or written to.
func Open(path string, o Options) (*Spool, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.openFile == nil {
		o.openFile = os.OpenFile
	}
	lock, err := lockFolder(path)
	if err != nil {
		return nil, err
	}
	s := &Spool{lock: lock, queueMax: maxQueueBytes, disk: disk{
		dir:      path,
		maxBytes: min(o.MaxBytes, maxMaxBytes),
		log:      o.Log,
		openFile: o.openFile,
	}}
	s.nonEmpty.L = &s.queueMu
	err = s.onDisk(func(d *disk) error {
		d.countAside()
		return d.use(func() error { return nil })
	})
	if errors.Is(err, ErrInUse) {
		return nil, errors.Join(err, lock.Close())
	}
	if err != nil {
		o.Log.Error().Err(err).Str("folder", path).Msg("cannot open the spool file yet, trying again when it is needed")
	}
	s.committer.Go(s.work)
	return s, nil
}

// lockFolder makes the folder and locks it until the file is closed. The lock
// is on a file of its own, since the spool's may be replaced.
func lockFolder(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, diskError(fmt.Errorf("make spool folder: %w", err))
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, diskError(fmt.Errorf("sync above spool folder: %w", err))
	}
	f, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, diskError(fmt.Errorf("lock spool folder: %w", err))
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %s", ErrInUse, path)
	}
	if err != nil {
		return nil, errors.Join(diskError(err), f.Close())
	}
	return f, nil
}

// Oldest returns up to n records of together up to maxBytes as encoded, oldest
// first, and at least one if there is any. They stay until they are removed. A
// record that turns out to be damaged is never among them: see the package.
func (s *Spool) Oldest(n, maxBytes int) (entries []Entry, err error) {
	err = s.onDisk(func(d *disk) error {
		entries, err = d.oldest(n, maxBytes)
		return err
	})
	return entries, err
}

// Find returns the keys of all records that match, oldest first. match must not
// use the spool.
func (s *Spool) Find(match func(Record) bool) (keys []uint64, err error) {
	err = s.onDisk(func(d *disk) error {
		keys, err = d.find(match)
		return err
	})
	return keys, err
}

// Remove forgets records that are safe elsewhere; keys that are not there do no
// harm. With an error (ErrNoSpace, ErrDisk) they are forgotten all the same, but
// come back after a restart: the disk did not take it, and it is tried again
// with the next Remove.
func (s *Spool) Remove(keys ...uint64) error {
	if len(keys) == 0 {
		return nil
	}
	return s.onDisk(func(d *disk) error { return d.remove(keys) })
}

// onDisk runs op with the disk to itself and publishes what became of it.
func (s *Spool) onDisk(op func(*disk) error) error {
	s.diskMu.Lock()
	defer s.diskMu.Unlock()
	if s.diskClosed {
		return ErrClosed
	}
	err := op(&s.disk)
	d := &s.disk
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	s.stats = Stats{
		Records: d.records, Bytes: d.bytes, MaxBytes: d.maxBytes,
		OldestAt: d.oldestAt, SetAside: d.setAside, Err: d.err,
	}
	return err
}

// Stats returns what the spool holds as of its last use. It waits for no disk.
func (s *Spool) Stats() Stats {
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	return s.stats
}

// Close commits what is queued, refuses anything new, and lets go of the
// folder. Closing twice does no harm.
func (s *Spool) Close() error {
	s.queueMu.Lock()
	again := s.closed
	s.closed = true
	s.nonEmpty.Broadcast()
	s.queueMu.Unlock()
	s.committer.Wait()
	if again {
		return nil
	}
	s.diskMu.Lock()
	defer s.diskMu.Unlock()
	s.diskClosed = true
	s.disk.close()
	// Closing alone would leave the lock to a child process that is just being
	// started and has not yet closed what it inherited.
	err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_UN)
	return errors.Join(err, s.lock.Close())
}
