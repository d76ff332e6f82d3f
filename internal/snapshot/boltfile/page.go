package boltfile

import "bytes"

// A page is a header (its number uint64, kind, number of elements uint16, how many pages it
// flows over into uint32), its elements, and then their keys and values. An element of a
// branch is where its key is from there, the key's length uint32, and the child uint64; one of
// a leaf flags, where its key is, and the lengths of key and value uint32.
const (
	pageHeader = 16
	element    = 16
	maxKey     = 32768
)

// Kinds of pages, other than the first two.
const (
	kindBranch   = 0x01
	kindLeaf     = 0x02
	kindFreelist = 0x10
)

type page []byte

func (p page) number() uint64   { return u64(p) }
func (p page) kind() uint16     { return u16(p[8:]) }
func (p page) count() int       { return int(u16(p[10:])) }
func (p page) overflow() uint64 { return uint64(u32(p[12:])) }

func (p page) element(i int) []byte { return p[pageHeader+i*element:][:element] }

// span says where an element's key begins, and where the key and the value end.
func (p page) span(i int) (start, middle, end uint64) {
	e := p.element(i)
	start = uint64(pageHeader + i*element)
	if p.kind() == kindBranch {
		start += uint64(u32(e))
		middle = start + uint64(u32(e[4:]))
		return start, middle, middle
	}
	start += uint64(u32(e[4:]))
	middle = start + uint64(u32(e[8:]))
	return start, middle, middle + uint64(u32(e[12:]))
}

func (p page) key(i int) []byte {
	start, end, _ := p.span(i)
	return p[start:end]
}

func (p page) value(i int) []byte {
	_, start, end := p.span(i)
	return p[start:end]
}

// child is that of a branch's element.
func (p page) child(i int) uint64 { return u64(p.element(i)[8:]) }

// isBucket reports whether a leaf's element is a bucket.
func (p page) isBucket(i int) bool { return u32(p.element(i))&1 != 0 }

// check makes sure that the elements' keys and values are in the page, one behind the other,
// and that the keys are in order, and from from on to before to; nil: any.
func (p page) check(from, to []byte) error {
	free := uint64(pageHeader + p.count()*element)
	if free > uint64(len(p)) {
		return damaged("page %d has more elements than it can hold", p.number())
	}
	for i := range p.count() {
		start, middle, end := p.span(i)
		if start < free || end > uint64(len(p)) || middle == start || middle-start > maxKey {
			return damaged("an element of page %d is not in it", p.number())
		}
		free = end
		key := p[start:middle]
		if i == 0 && bytes.Compare(key, from) < 0 || i > 0 && bytes.Compare(key, p.key(i-1)) <= 0 || to != nil && bytes.Compare(key, to) >= 0 {
			return damaged("the keys of page %d are not in order", p.number())
		}
	}
	return nil
}
