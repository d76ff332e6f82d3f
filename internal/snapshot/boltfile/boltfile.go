// Package boltfile tells whether a file is a bbolt database that bbolt can be let at.
//
// bbolt maps a file and believes it. A page that is its own child is followed until there is
// no memory left; a list of free pages may be of any length; and some of it is read in
// goroutines where nobody recovers. Of a database that has passed here, every page is in the
// file and belongs to one other, every key and value has bytes of its own, and keys are in
// order: what bbolt does with it is bounded by its size.
//
// The format is version 2 (bbolt, internal/common: meta.go, page.go, bucket.go), in the byte
// order of the machine. Sizes are bytes.
package boltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
)

// ErrDamaged says that a file breaks the rules of bbolt.
var ErrDamaged = errors.New("the database is damaged")

// MaxSize is the size of the largest file that is looked at. An engine's have some megabytes.
const MaxSize = 256 << 20

// What a file begins with, in each of its first two pages, behind the page's header:
//
//	magic, version, size of a page, flags uint32; root bucket, list of free pages,
//	number of pages, transaction, checksum of what is before it
const (
	magic      = 0xED0CDAED
	version    = 2
	headerSize = 64
	noFreelist = math.MaxUint64
	// minSize is what bbolt reads of a first page, however small that is.
	minSize = 4096
)

type header struct{ pageSize, root, freelist, pages, transaction uint64 }

// CheckFile is [Check] of a file of that size.
func CheckFile(r io.Reader, size int64) error {
	if size > MaxSize {
		return fmt.Errorf("%w: it has %d bytes, more than the %d of the largest that is read", ErrDamaged, size, MaxSize)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	return Check(b)
}

// Check returns [ErrDamaged], and where, unless b is a database in which bbolt can read and
// write.
func Check(b []byte) error {
	h, ok := readHeader(b)
	// bbolt would go on to look for the second header. The size of pages would be its.
	if !ok || len(b) < minSize || h.pageSize < 1<<10 || h.pageSize > 1<<16 || h.pageSize&(h.pageSize-1) != 0 {
		return damaged("it does not begin like one")
	}
	pageSize := h.pageSize
	if uint64(len(b)) < 2*pageSize {
		return damaged("it ends early")
	}
	if second, ok := readHeader(b[pageSize:]); ok && second.transaction > h.transaction {
		h = second
	}
	if h.pages > uint64(len(b))/pageSize {
		return damaged("it ends early")
	}
	c := checker{file: b, pageSize: pageSize, used: make([]bool, h.pages)}
	if err := c.tree(h.root, nil, nil, 0); err != nil {
		return err
	}
	if h.freelist == noFreelist {
		return nil
	}
	return c.freelist(h.freelist)
}

func readHeader(b []byte) (header, bool) {
	if len(b) < pageHeader+headerSize {
		return header{}, false
	}
	b = b[pageHeader:][:headerSize]
	sum := fnv.New64a()
	sum.Write(b[:headerSize-8])
	ok := u32(b) == magic && u32(b[4:]) == version && u64(b[56:]) == sum.Sum64()
	return header{uint64(u32(b[8:])), u64(b[16:]), u64(b[32:]), u64(b[40:]), u64(b[48:])}, ok
}

func u16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }
func u32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
func u64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}
