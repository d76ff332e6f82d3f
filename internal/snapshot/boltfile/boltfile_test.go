package boltfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

const pageSize = 1024

// database makes one with branches, buckets of every kind, a value of several pages and free
// pages. Its list of free pages is in it if synced.
func database(t testing.TB, synced bool) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: pageSize, NoFreelistSync: !synced, FreelistType: bolt.FreelistArrayType, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		outer, err := tx.CreateBucket([]byte("outer"))
		if err != nil {
			return err
		}
		for i := range 100 {
			b, err := outer.CreateBucket(fmt.Appendf(nil, "%032x", i))
			if err != nil {
				return err
			}
			if err := b.Put([]byte("key"), make([]byte, 1+i%40*20)); err != nil { // inline, and not
				return err
			}
		}
		return outer.Put([]byte("large"), make([]byte, 3*pageSize))
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("outer")).DeleteBucket(fmt.Appendf(nil, "%032x", 50)) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// latest returns where the header is that counts.
func latest(b []byte) int {
	first, _ := readHeader(b)
	if second, _ := readHeader(b[pageSize:]); second.transaction > first.transaction {
		return pageSize + pageHeader
	}
	return pageHeader
}

// find returns a page in use that is as wanted.
func find(t testing.TB, b []byte, wanted func(page) bool) page {
	t.Helper()
	h, _ := readHeader(b[latest(b)-pageHeader:])
	c := checker{file: b, pageSize: pageSize, used: make([]bool, h.pages)}
	list, err := c.page(h.freelist)
	if err := errors.Join(err, c.tree(h.root, nil, nil, 0)); err != nil {
		t.Fatal(err)
	}
	if wanted(list) {
		return list
	}
	for i, used := range c.used {
		if p := page(b[i*pageSize:]); used && int(p.number()) == i && p.count() > 1 && wanted(p) {
			return p
		}
	}
	t.Fatal("there is no such page")
	return nil
}

// cycle makes every branch its own only child. bbolt goes down there for ever.
func cycle(b []byte) []byte {
	for at := 2 * pageSize; at < len(b); at += pageSize {
		if p := page(b[at:]); p.kind() == kindBranch {
			for i := range p.count() {
				binary.NativeEndian.PutUint64(p.element(i)[8:], p.number())
			}
		}
	}
	return b
}

// seal makes the checksums of the headers right.
func seal(b []byte) []byte {
	for at := 0; at < 2*pageSize; at += pageSize {
		h := b[at+pageHeader:][:headerSize]
		sum := fnv.New64a()
		sum.Write(h[:56])
		binary.NativeEndian.PutUint64(h[56:], sum.Sum64())
	}
	return b
}

func TestCheck(t *testing.T) {
	for _, synced := range []bool{true, false} {
		if err := Check(database(t, synced)); err != nil {
			t.Errorf("free pages listed %v: %v", synced, err)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	db, err := bolt.Open(empty, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	if b, err := os.ReadFile(empty); err != nil || Check(b) != nil {
		t.Errorf("an empty one: %v, %v", err, Check(b))
	}
}

func TestDamaged(t *testing.T) {
	put16, put32, put64 := binary.NativeEndian.PutUint16, binary.NativeEndian.PutUint32, binary.NativeEndian.PutUint64
	headed := func(change func(header []byte)) func([]byte) []byte {
		return func(b []byte) []byte { change(b[latest(b):]); return seal(b) }
	}
	paged := func(wanted func(page) bool, change func(page)) func([]byte) []byte {
		return func(b []byte) []byte { change(find(t, b, wanted)); return b }
	}
	is := func(kind uint16) func(page) bool { return func(p page) bool { return p.kind() == kind } }
	withInline := func(p page) bool { return p.kind() == kindLeaf && p.isBucket(0) && u64(p.value(0)) == 0 }
	for what, spoil := range map[string]func(b []byte) []byte{
		"nothing":                     func([]byte) []byte { return nil },
		"something else":              func([]byte) []byte { return []byte(strings.Repeat("garbage ", 9999)) },
		"half of it":                  func(b []byte) []byte { return b[:8*pageSize] },
		"a page that is its child":    cycle,
		"a page of no size":           func(b []byte) []byte { put32(b[pageHeader+8:], 0); return seal(b) },
		"pages of another size":       func(b []byte) []byte { put32(b[pageHeader+8:], 4096); return seal(b) },
		"no first header":             func(b []byte) []byte { b[pageHeader+20]++; return b },
		"more pages than it has":      headed(func(h []byte) { put64(h[40:], 1<<50) }),
		"a root that is none":         headed(func(h []byte) { put64(h[16:], 0) }),
		"a root out of it":            headed(func(h []byte) { put64(h[16:], 1<<50) }),
		"a list out of it":            headed(func(h []byte) { put64(h[32:], 1<<50) }),
		"a list that is the root":     headed(func(h []byte) { copy(h[32:40], h[16:24]) }),
		"a list of very many":         paged(is(kindFreelist), func(p page) { put16(p[10:], 0xFFFF) }),
		"a free page that is not":     paged(is(kindFreelist), func(p page) { put64(p[pageHeader:], 1) }),
		"a free page twice":           paged(is(kindFreelist), func(p page) { copy(p[pageHeader+8:][:8], p[pageHeader:]) }),
		"a child out of it":           paged(is(kindBranch), func(p page) { put64(p.element(0)[8:], 1<<50) }),
		"a child twice":               paged(is(kindBranch), func(p page) { put64(p.element(1)[8:], p.child(0)) }),
		"a page of no kind":           paged(is(kindLeaf), func(p page) { put16(p[8:], 0x20) }),
		"a page by another number":    paged(is(kindLeaf), func(p page) { put64(p, 3) }),
		"a branch without children":   paged(is(kindBranch), func(p page) { put16(p[10:], 0) }),
		"more elements than fit":      paged(is(kindLeaf), func(p page) { put16(p[10:], 0xFFFF) }),
		"a page that flows over":      paged(is(kindLeaf), func(p page) { put32(p[12:], 1<<31) }),
		"a key out of its page":       paged(is(kindLeaf), func(p page) { put32(p.element(0)[4:], 1<<31) }),
		"a value out of its page":     paged(is(kindLeaf), func(p page) { put32(p.element(0)[12:], 1<<31) }),
		"no key":                      paged(is(kindLeaf), func(p page) { put32(p.element(0)[8:], 0) }),
		"two keys of the same bytes":  paged(is(kindLeaf), func(p page) { put32(p.element(1)[4:], u32(p.element(0)[4:])-element) }),
		"keys that are not in order":  paged(is(kindLeaf), func(p page) { p.key(0)[0] = 'z' }),
		"a key of another page":       paged(is(kindBranch), func(p page) { p.key(1)[0] = 1 }),
		"a bucket that is none":       paged(withInline, func(p page) { put32(p.element(0)[12:], 8) }),
		"a branch in a bucket's leaf": paged(withInline, func(p page) { put16(p.value(0)[24:], kindBranch) }),
		"a bucket in one of no pages": paged(withInline, func(p page) { put32(page(p.value(0)[16:]).element(0), 1) }),
	} {
		err := Check(spoil(database(t, true)))
		if !errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := CheckFile(bytes.NewReader(nil), MaxSize+1); !errors.Is(err, ErrDamaged) {
		t.Errorf("a very large one: %v", err)
	}
}

// FuzzCheck has bbolt read all of what passes, and write to it. patches are three bytes each:
// where, and what is to be there.
func FuzzCheck(f *testing.F) {
	bases := map[bool][]byte{true: database(f, true), false: database(f, false)}
	for synced, b := range bases {
		var patches []byte
		for at, c := range cycle(bytes.Clone(b)) {
			if b[at] != c {
				patches = append(binary.LittleEndian.AppendUint16(patches, uint16(at)), c)
			}
		}
		f.Add(synced, patches)
		f.Add(synced, []byte{})
	}
	f.Fuzz(func(t *testing.T, synced bool, patches []byte) {
		b := bytes.Clone(bases[synced])
		for ; len(patches) >= 3; patches = patches[3:] {
			if at := int(binary.LittleEndian.Uint16(patches)); at < len(b) {
				b[at] = patches[2]
			}
		}
		if b = seal(b); Check(b) != nil {
			return
		}
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
		if err != nil {
			t.Fatalf("bbolt does not open it: %v", err)
		}
		defer db.Close()
		err = db.Update(func(tx *bolt.Tx) error {
			var names [][]byte
			err := tx.ForEach(func(name []byte, b *bolt.Bucket) error {
				if b == nil {
					return nil // a value
				}
				names = append(names, bytes.Clone(name))
				return read(b)
			})
			for _, name := range names {
				if err := dropHalf(tx.Bucket(name)); err != nil {
					return err
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func read(b *bolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		if sub := b.Bucket(k); sub != nil {
			return read(sub)
		}
		_ = bytes.Clone(v)
		return nil
	})
}

func dropHalf(b *bolt.Bucket) error {
	var names [][]byte
	if err := b.ForEachBucket(func(k []byte) error { names = append(names, bytes.Clone(k)); return nil }); err != nil {
		return err
	}
	for _, name := range names[:len(names)/2] {
		if err := b.DeleteBucket(name); err != nil {
			return err
		}
	}
	return nil
}
