package etcdops

import (
	"bytes"
	"math/big"
)

// window is the part of a range that one request asks for, where the range is long.
//
// For every page, whatever its limit, a server visits all keys of the range that it was asked for, to count them, and under the
// lock that writes need (etcd server/storage/mvcc/index.go, treeIndex.Revisions; a 3.4 gathers their revisions as well). A
// million keys cost each page a tenth of a second in which nobody writes. So each request asks for a part in which there should be a
// few pages, by how far apart the keys of the last page are. A wrong guess costs requests, never keys: the parts follow each other
// without a gap.
type window struct {
	span  *big.Int // how far it goes on, in keys cut to the width and read as numbers
	width int      // bytes
}

const (
	windowAbove = 50_000 // keys left: counting fewer takes a few milliseconds
	windowPages = 3
	windowFine  = 8  // bytes in which the keys of a page differ: what is behind them makes no difference
	windowGrow  = 16 // times, from one window to the next
)

// newWindow returns a window for some pages, by the first and the last key of a page, the number of its keys, and how many the next
// may have.
func newWindow(first, last []byte, keys int, limit int64) window {
	common := 0
	for common < min(len(first), len(last)) && first[common] == last[common] {
		common++
	}
	w := window{width: common + windowFine}
	w.span = new(big.Int).Sub(w.number(last), w.number(first))
	w.span.Mul(w.span, big.NewInt(windowPages*limit))
	w.span.Div(w.span, big.NewInt(int64(keys)))
	if w.span.Sign() == 0 { // they differ further behind
		w.span.SetInt64(1)
	}
	return w
}

// scaled returns the window to follow one that was read to its end, by how many keys were in that, of the most that one page
// has. It goes further, because there were fewer than there should have been.
func (w window) scaled(keys int, limit int64) window {
	times := min(windowPages*limit/int64(max(keys, 1)), windowGrow)
	return window{span: new(big.Int).Mul(w.span, big.NewInt(times)), width: w.width}
}

// from returns the end of the window that begins at a key: behind that, and not behind the end of the range.
func (w window) from(next, end string) string {
	bound := w.number([]byte(next))
	bound.Add(bound, w.span)
	if bound.BitLen() > 8*w.width {
		return end
	}
	return min(string(bound.FillBytes(make([]byte, w.width))), end)
}

// number reads a key as a number, cut or filled up to the width.
func (w window) number(key []byte) *big.Int {
	cut := key[:min(len(key), w.width)]
	return new(big.Int).SetBytes(append(bytes.Clone(cut), make([]byte, w.width-len(cut))...))
}
