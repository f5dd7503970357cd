package order

// blocks lays the samples out in blocks of equal size in keyed order; the last
// block of the samples may be short, wherever it comes.
type blocks struct {
	n, size uint64
	order   bijection // place of a block -> block
	short   uint64    // position at which the short block begins; n without one
	tail    uint64    // its size
	key     uint64
	within  bool // shuffle the samples of each block too
}

func newBlocks(n, size, key uint64, within bool) *blocks {
	count := (n + size - 1) / size
	b := &blocks{n: n, size: size, order: newBijection(count, sub(key, tagBlocks, 0)), tail: n - (count-1)*size, key: key, within: within}
	b.short = n
	if b.tail < size {
		b.short = b.order.backward(count-1) * size
	}
	return b
}

func (b *blocks) Len() uint64 { return b.n }

// at maps a position.
func (b *blocks) at(x uint64) uint64 {
	if b.short < b.n && x >= b.short+b.tail {
		x += b.size - b.tail // as if the short block were whole
	}
	place := x / b.size
	block := b.order.forward(place)
	x -= place * b.size
	if b.within {
		f := b.inner(block)
		x = f.forward(x)
	}
	return block*b.size + x
}

func (b *blocks) inner(block uint64) bijection {
	return newBijection(min(b.size, b.n-block*b.size), sub(b.key, tagWithin, block))
}

func (b *blocks) Position(y uint64) uint64 {
	block := y / b.size
	y -= block * b.size
	if b.within {
		f := b.inner(block)
		y = f.backward(y)
	}
	x := b.order.backward(block)*b.size + y
	if b.short < b.n && x >= b.short+b.tail {
		x -= b.size - b.tail
	}
	return x
}

func (b *blocks) Fill(dst []uint64, start uint64) {
	for i := range dst {
		dst[i] = b.at(start + uint64(i))
	}
}

// groups shuffles positions within consecutive groups of equal size; the first
// one may be smaller, the last one is as long as the samples last.
type groups struct{ n, size, shift, key, tag uint64 }

func newGroups(n, size, first, key, tag uint64) groups {
	if first == 0 {
		first = size
	}
	return groups{n, size, size - first, key, tag}
}

// group finds the group of a position: where it begins, and its bijection.
func (g *groups) group(x uint64) (start uint64, f bijection) {
	k := (x + g.shift) / g.size
	if k > 0 {
		start = k*g.size - g.shift
	}
	return start, newBijection(min((k+1)*g.size-g.shift, g.n)-start, sub(g.key, g.tag, k))
}

func (g *groups) forward(x uint64) uint64 {
	start, f := g.group(x)
	return start + f.forward(x-start)
}

func (g *groups) backward(y uint64) uint64 {
	start, f := g.group(y)
	return start + f.backward(y-start)
}

// window shuffles twice within half a window, the groups of the first shuffle
// staggered against those of the second: what stands at a position comes from
// one of two neighbouring groups. The positions that come out may then be those
// of blocks in keyed order.
type window struct {
	n                  uint64
	staggered, aligned groups
	blocks             *blocks // nil: none
}

func newWindow(n, size, block, key uint64) *window {
	half := size / 2
	w := &window{n: n, staggered: newGroups(n, half, half/2, key, tagStaggered), aligned: newGroups(n, half, half, key, tagAligned)}
	if block > 0 {
		w.blocks = newBlocks(n, block, key, false)
	}
	return w
}

func (w *window) Len() uint64 { return w.n }

func (w *window) Fill(dst []uint64, start uint64) {
	for i := range dst {
		y := w.aligned.forward(w.staggered.forward(start + uint64(i)))
		if w.blocks != nil {
			y = w.blocks.at(y)
		}
		dst[i] = y
	}
}

func (w *window) Position(y uint64) uint64 {
	if w.blocks != nil {
		y = w.blocks.Position(y)
	}
	return w.staggered.backward(w.aligned.backward(y))
}
