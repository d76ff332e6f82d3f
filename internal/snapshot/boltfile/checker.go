package boltfile

// maxDepth bounds how many pages are between the first and the last key: bbolt calls itself
// for each. Trees of millions of keys are four deep, and containerd's buckets seven.
const maxDepth = 100

type checker struct {
	file     []byte
	pageSize uint64
	used     []bool // by number of a page
}

// page returns a page with those it flows over into, to which nobody else may refer.
func (c *checker) page(number uint64) (page, error) {
	if number < 2 || number >= uint64(len(c.used)) {
		return nil, damaged("there is no page %d", number)
	}
	p := page(c.file[number*c.pageSize:])
	end := number + 1 + p.overflow()
	if p.number() != number || end > uint64(len(c.used)) {
		return nil, damaged("page %d is not what it is called", number)
	}
	for i := number; i < end; i++ {
		if err := c.use(i); err != nil {
			return nil, err
		}
	}
	return p[:(end-number)*c.pageSize], nil
}

func (c *checker) use(number uint64) error {
	if c.used[number] {
		return damaged("page %d is there twice", number)
	}
	c.used[number] = true
	return nil
}

// tree looks at the pages of a bucket, below one of them, whose keys are from from on to
// before to.
func (c *checker) tree(number uint64, from, to []byte, depth int) error {
	if depth > maxDepth {
		return damaged("page %d is too deep", number)
	}
	p, err := c.page(number)
	if err != nil {
		return err
	}
	switch {
	case p.kind() == kindLeaf:
		if err := p.check(from, to); err != nil {
			return err
		}
		return c.buckets(p, depth)
	case p.kind() == kindBranch && p.count() > 0:
		if err := p.check(from, to); err != nil {
			return err
		}
		return c.children(p, to, depth)
	}
	return damaged("page %d is of kind %#x", number, p.kind())
}

// children looks at those of a branch: the keys of each are less than the next one's.
func (c *checker) children(p page, to []byte, depth int) error {
	for i := range p.count() {
		end := to
		if i+1 < p.count() {
			end = p.key(i + 1)
		}
		if err := c.tree(p.child(i), p.key(i), end, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// buckets looks at those that are in a leaf. One begins with the number of its first page and
// a counter (uint64). The number is 0 if it is a leaf that follows there, which has no buckets.
func (c *checker) buckets(p page, depth int) error {
	const bucketHeader = 16
	for i := range p.count() {
		if !p.isBucket(i) {
			continue
		}
		value := p.value(i)
		if len(value) < bucketHeader {
			return damaged("a bucket in page %d ends early", p.number())
		}
		if root := u64(value); root != 0 {
			if err := c.tree(root, nil, nil, depth+1); err != nil {
				return err
			}
			continue
		}
		if err := inline(value[bucketHeader:]); err != nil {
			return err
		}
	}
	return nil
}

func inline(p page) error {
	if len(p) < pageHeader || p.kind() != kindLeaf || p.number() != 0 || p.overflow() != 0 {
		return damaged("a bucket is not what it should be")
	}
	if err := p.check(nil, nil); err != nil {
		return err
	}
	for i := range p.count() {
		if p.isBucket(i) {
			return damaged("there is a bucket in one that has no pages")
		}
	}
	return nil
}

// freelist looks at the list of free pages, numbers uint64. If there are very many, the first
// is how many.
func (c *checker) freelist(number uint64) error {
	p, err := c.page(number)
	if err != nil {
		return err
	}
	list, n := p[pageHeader:], uint64(p.count())
	if n == 0xFFFF {
		n, list = u64(list), list[8:]
	}
	if p.kind() != kindFreelist || n > uint64(len(list))/8 {
		return damaged("page %d is no list of free pages", number)
	}
	for i := range n {
		free := u64(list[i*8:])
		if free < 2 || free >= uint64(len(c.used)) {
			return damaged("there is no free page %d", free)
		}
		if err := c.use(free); err != nil {
			return err
		}
	}
	return nil
}
