package snapshot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Layout of a bbolt file (bbolt internal/common, page.go and bucket.go). All numbers are little endian: etcd runs on no other machine.
const (
	pageHeaderBytes = 16 // id, flags, count of elements, number of overflow pages
	elementBytes    = 16 // of a branch: position, key size, page; of a leaf: flags, position, key size, value size
	bucketBytes     = 16 // root page, sequence

	branchPage    = 0x01
	leafPage      = 0x02
	bucketElement = 0x01
)

const (
	maxTreeDepth  = 32 // with two keys a page, four thousand million keys are not deeper
	leastPage     = 512
	mostPage      = 1 << 20
	firstTreePage = 2 // behind the two that say where the tree begins

	askEvery = 1024 // steps between two looks at the context

	beyondPage = "reaches beyond its page"
	beyondFile = "reaches beyond the file"
)

// tree walks the pages of a bbolt file before bbolt does. bbolt trusts them: a page that is not there, is another one, holds
// less than it says, or leads back to itself would end the process. The walk reads what leads from page to page, and
// no keys or values but those of buckets; it says nothing of whether they are right.
type tree struct {
	file     io.ReaderAt
	pageSize int64
	pages    uint64 // whole ones in the file
	seen     []uint64
	queue    []treePage
	buf      []byte
}

// treePage is a page that another one leads to.
type treePage struct {
	id    uint64
	depth int
}

// checkTree walks all that can be reached from the page root, in a file of so many pages.
func checkTree(ctx context.Context, file io.ReaderAt, pages, pageSize int64, root uint64) error {
	t := &tree{file: file, pageSize: pageSize, pages: uint64(pages), queue: []treePage{{id: root}}}
	t.seen = make([]uint64, t.pages/64+1)
	for n := 0; len(t.queue) > 0; n++ {
		if n%askEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		next := t.queue[len(t.queue)-1]
		t.queue = t.queue[:len(t.queue)-1]
		if err := t.visit(next); err != nil {
			return fmt.Errorf("page %d: %w", next.id, err)
		}
	}
	return nil
}

// visit checks one page, and queues those that it leads to.
func (t *tree) visit(page treePage) error {
	switch id := page.id; {
	case id < firstTreePage || id >= t.pages:
		return errors.New(beyondFile)
	case page.depth > maxTreeDepth:
		return errors.New("the tree is too deep")
	case t.seen[id/64]&(1<<(id%64)) != 0:
		return errors.New("two pages lead to it")
	}
	t.seen[page.id/64] |= 1 << (page.id % 64)
	at := int64(page.id) * t.pageSize
	data, err := t.read(at, t.pageSize)
	if err != nil {
		return err
	}
	overflow := uint64(binary.LittleEndian.Uint32(data[12:]))
	if page.id+1+overflow > t.pages {
		return errors.New(beyondFile)
	}
	if id := binary.LittleEndian.Uint64(data); id != page.id {
		return fmt.Errorf("calls itself page %d", id)
	}
	room := int64(1+overflow) * t.pageSize
	table, err := tableBytes(data, room)
	if err != nil {
		return err
	}
	if table > int64(len(data)) {
		if data, err = t.read(at, table); err != nil {
			return err
		}
	}
	switch flags := binary.LittleEndian.Uint16(data[8:]); flags {
	case branchPage:
		return t.branch(data[:table], room, page.depth+1)
	case leafPage:
		return t.leaf(data[:table], at, room, page.depth+1)
	default:
		return fmt.Errorf("is neither branch nor leaf, but %#x", flags)
	}
}

// tableBytes returns how much of a page its header and the table of its elements take.
func tableBytes(page []byte, room int64) (int64, error) {
	table := pageHeaderBytes + elementBytes*int64(binary.LittleEndian.Uint16(page[10:]))
	if table > room {
		return 0, errors.New(beyondPage)
	}
	return table, nil
}

// branch checks the elements of a branch page, and queues the pages that they lead to.
func (t *tree) branch(table []byte, room int64, depth int) error {
	if len(table) == pageHeaderBytes {
		return errors.New("a branch that leads nowhere")
	}
	for at := int64(pageHeaderBytes); at < int64(len(table)); at += elementBytes {
		element := table[at:]
		pos, key := uint32At(element, 0), uint32At(element, 4)
		if at+pos+key > room {
			return errors.New("a key " + beyondPage)
		}
		t.queue = append(t.queue, treePage{binary.LittleEndian.Uint64(element[8:]), depth})
	}
	return nil
}

// leaf checks the elements of a leaf page, which is at a place of the file, and queues the trees of buckets among them.
func (t *tree) leaf(table []byte, page, room int64, depth int) error {
	type value struct{ at, size int64 }
	var buckets []value
	for at := int64(pageHeaderBytes); at < int64(len(table)); at += elementBytes {
		element := table[at:]
		flags, pos, key, size := uint32At(element, 0), uint32At(element, 4), uint32At(element, 8), uint32At(element, 12)
		if at+pos+key+size > room {
			return errors.New("a value " + beyondPage)
		}
		if flags&bucketElement != 0 {
			buckets = append(buckets, value{page + at + pos + key, size})
		}
	}
	for _, b := range buckets { // only now: it takes the memory of the table
		if err := t.bucket(b.at, b.size, depth); err != nil {
			return err
		}
	}
	return nil
}

// bucket queues the tree of a bucket, or checks the only page of a small one, which stands in its value.
func (t *tree) bucket(at, size int64, depth int) error {
	if size < bucketBytes {
		return errors.New("a bucket is too short")
	}
	value, err := t.read(at, size)
	if err != nil {
		return err
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		t.queue = append(t.queue, treePage{root, depth})
		return nil
	}
	page := value[bucketBytes:]
	if len(page) < pageHeaderBytes || binary.LittleEndian.Uint16(page[8:]) != leafPage {
		return errors.New("a small bucket has no page")
	}
	table, err := tableBytes(page, int64(len(page)))
	if err != nil {
		return err
	}
	for at := int64(pageHeaderBytes); at < table; at += elementBytes {
		element := page[at:]
		if uint32At(element, 0)&bucketElement != 0 {
			return errors.New("a small bucket holds another one")
		}
		if at+uint32At(element, 4)+uint32At(element, 8)+uint32At(element, 12) > int64(len(page)) {
			return errors.New("a value of a small bucket " + beyondPage)
		}
	}
	return nil
}

// read reads bytes of the file. They are overwritten by the next read.
func (t *tree) read(at, size int64) ([]byte, error) {
	if int64(cap(t.buf)) < size {
		t.buf = make([]byte, size)
	}
	t.buf = t.buf[:size]
	if _, err := t.file.ReadAt(t.buf, at); err != nil {
		return nil, err
	}
	return t.buf, nil
}

func uint32At(b []byte, at int) int64 { return int64(binary.LittleEndian.Uint32(b[at:])) }
