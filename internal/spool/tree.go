package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// walkRoot wants the one bucket that a spool has.
func (l *layout) walkRoot(p page) error {
	if p.flags != leafPage || p.count != 1 {
		return errors.New("the root is not that of a spool")
	}
	e, err := l.leaf(p, 0)
	if err != nil {
		return err
	}
	name, err := l.at(e.key, len(bucketName))
	if err != nil || e.flags != bucketFlag || e.keySize != int64(len(bucketName)) || string(name) != bucketName {
		return errors.New("it holds no records")
	}
	if e.valueSize < bucketHeader {
		return errors.New("the bucket is cut short")
	}
	b, err := l.at(e.value, bucketHeader)
	if err != nil {
		return err
	}
	if id := word(b); id != 0 {
		_, err := l.walkTree(id, 0, math.MaxUint64, 0)
		return err
	}
	return l.walkInline(e)
}

// walkInline walks the page of a bucket so small that it lies in the root.
func (l *layout) walkInline(e leafElement) error {
	if e.valueSize < bucketHeader+pageHeader {
		return errors.New("the bucket is cut short")
	}
	b, err := l.at(e.value+bucketHeader, pageHeader)
	if err != nil {
		return err
	}
	p := parsePage(b, e.value+bucketHeader, e.valueSize-bucketHeader)
	if p.flags != leafPage {
		return errors.New("the bucket is no leaf")
	}
	_, err = l.walkLeaf(p, 0, math.MaxUint64)
	return err
}

// walkTree walks the page and what is under it. All keys must be at least low,
// less than high, and ascend. It returns the least key that may follow.
func (l *layout) walkTree(id int64, low, high uint64, depth int) (uint64, error) {
	if depth > maxDepth {
		return 0, errors.New("the tree is too deep")
	}
	p, err := l.open(id)
	if err != nil {
		return 0, err
	}
	switch {
	case p.flags == leafPage:
		return l.walkLeaf(p, low, high)
	case p.flags == branchPage && p.count > 0:
		return l.walkBranch(p, low, high, depth)
	default:
		return 0, fmt.Errorf("page %d is of no known kind", id)
	}
}

func (l *layout) walkLeaf(p page, low, high uint64) (uint64, error) {
	for i := range p.count {
		e, err := l.leaf(p, i)
		if err != nil {
			return 0, err
		}
		key, err := l.key(e.key, e.keySize)
		if err != nil {
			return 0, err
		}
		if e.flags != 0 || key < low || key >= high {
			return 0, fmt.Errorf("key %d is out of order", key)
		}
		low = key + 1
		l.visit(key, e.value, e.valueSize)
	}
	return low, nil
}

// walkBranch reads the whole branch before it goes down, so that the window
// need not go back and forth.
func (l *layout) walkBranch(p page, low, high uint64, depth int) (uint64, error) {
	children := make([]branchElement, p.count)
	for i := range children {
		e, err := l.branch(p, i)
		if err != nil {
			return 0, err
		}
		children[i] = e
	}
	for i, child := range children {
		next := high
		if i+1 < len(children) {
			next = children[i+1].key
		}
		if child.key < low || child.key >= next || next > high {
			return 0, fmt.Errorf("branch %d is out of order", child.key)
		}
		var err error
		if low, err = l.walkTree(child.page, child.key, next, depth+1); err != nil {
			return 0, err
		}
	}
	return low, nil
}

// leafElement says where the parts of an element lie in the file.
type leafElement struct {
	flags            uint32
	key, keySize     int64
	value, valueSize int64
}

func (l *layout) leaf(p page, i int) (leafElement, error) {
	at, b, err := l.element(p, i)
	if err != nil {
		return leafElement{}, err
	}
	e := leafElement{
		flags:     binary.NativeEndian.Uint32(b),
		key:       at + int64(binary.NativeEndian.Uint32(b[4:])),
		keySize:   int64(binary.NativeEndian.Uint32(b[8:])),
		valueSize: int64(binary.NativeEndian.Uint32(b[12:])),
	}
	e.value = e.key + e.keySize
	if e.key < p.elementsEnd() || e.value+e.valueSize > p.off+p.size {
		return leafElement{}, fmt.Errorf("an element of the page at %d is out of bounds", p.off)
	}
	return e, nil
}

// branchElement is a page and the least key that may be on it.
type branchElement struct {
	key  uint64
	page int64
}

func (l *layout) branch(p page, i int) (branchElement, error) {
	at, b, err := l.element(p, i)
	if err != nil {
		return branchElement{}, err
	}
	e := branchElement{page: word(b[8:])}
	off := at + int64(binary.NativeEndian.Uint32(b))
	size := int64(binary.NativeEndian.Uint32(b[4:]))
	if off < p.elementsEnd() || off+size > p.off+p.size {
		return branchElement{}, fmt.Errorf("an element of the page at %d is out of bounds", p.off)
	}
	e.key, err = l.key(off, size)
	return e, err
}

// element returns the i-th element of a page's table, and where it lies.
func (l *layout) element(p page, i int) (int64, []byte, error) {
	if p.elementsEnd() > p.off+p.size {
		return 0, nil, fmt.Errorf("the page at %d has too many elements", p.off)
	}
	at := p.off + pageHeader + int64(i)*element
	b, err := l.at(at, element)
	return at, b, err
}

func (p page) elementsEnd() int64 { return p.off + pageHeader + int64(p.count)*element }

func (l *layout) key(off, size int64) (uint64, error) {
	if size != 8 {
		return 0, fmt.Errorf("a key of %d bytes", size)
	}
	b, err := l.at(off, 8)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}

// walkFreelist wants no page to be free that is in use.
func (l *layout) walkFreelist() error {
	p, err := l.open(l.meta.freelist)
	if err != nil {
		return fmt.Errorf("free pages: %w", err)
	}
	if p.flags != freelistPage {
		return errors.New("free pages: it is no list of them")
	}
	off, count := p.off+pageHeader, int64(p.count)
	if count == manyPages {
		b, err := l.at(off, 8)
		if err != nil {
			return err
		}
		off, count = off+8, word(b)
	}
	if count < 0 || count > (p.off+p.size-off)/8 {
		return errors.New("free pages: the list is cut short")
	}
	for range count {
		b, err := l.at(off, 8)
		if err != nil {
			return err
		}
		id := word(b)
		if id < 2 || id >= l.meta.hwm {
			return fmt.Errorf("free page %d is out of bounds", id)
		}
		if err := l.claim(id); err != nil {
			return err
		}
		off += 8
	}
	return nil
}
