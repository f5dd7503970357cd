package manifest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"

	"daos/internal/fault"
)

// Picker collects the samples of a selection, each once: a bit for each sample
// that there is, in a mapped file without a name, and beside it their order
// where that is not the order of samples. It is for one goroutine.
type Picker struct {
	samples uint64
	n       uint64
	bits    []byte // words of 8 bytes
	order   *os.File
	buf     *bufio.Writer
}

// NewPicker makes one for the numbers below samples; its files are in dir.
func NewPicker(dir string, samples uint64, ordered bool) (p *Picker, err error) {
	p = &Picker{samples: samples}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	f, err := scratch(dir)
	if err != nil {
		return p, err
	}
	defer f.Close()
	if p.bits, err = mapScratch(f, 8*((samples+64)/64)); err != nil {
		return p, err
	}
	if ordered {
		if p.order, err = scratch(dir); err == nil {
			p.buf = bufio.NewWriterSize(p.order, 1<<16)
		}
	}
	return p, err
}

// scratch is a file that has no name and is gone when it is closed.
func scratch(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".pick-*")
	if err != nil {
		return nil, ioFault(err, dir)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, ioFault(err, dir)
	}
	return f, nil
}

// Close frees what it holds.
func (p *Picker) Close() {
	if p.bits != nil {
		_ = unix.Munmap(p.bits)
		p.bits = nil
	}
	if p.order != nil {
		p.order.Close()
	}
}

// Len is the number of samples picked.
func (p *Picker) Len() uint64 { return p.n }

// Samples is the number of samples that there are to pick from.
func (p *Picker) Samples() uint64 { return p.samples }

// Has reports whether a sample was picked.
func (p *Picker) Has(i uint64) bool { return i < p.samples && p.bits[i/8]>>(i%8)&1 == 1 }

// Add picks a sample. fresh is false, and nothing is done, if it was before.
func (p *Picker) Add(i uint64) (fresh bool, err error) {
	if i >= p.samples {
		return false, fault.New(fault.Invalid, "view.pick", "sample", "sample %d is out of range, there are %d", i, p.samples)
	}
	if p.bits[i/8]>>(i%8)&1 == 1 {
		return false, nil
	}
	p.bits[i/8] |= 1 << (i % 8)
	p.n++
	if p.order != nil {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], i)
		if _, err := p.buf.Write(b[:]); err != nil {
			return true, ioFault(err, p.order.Name())
		}
	}
	return true, nil
}

// Next is the first picked sample from one on, in the order of samples.
func (p *Picker) Next(from uint64) (i uint64, ok bool) {
	for w := from / 64; from < p.samples && w < uint64(len(p.bits)/8); w++ {
		x := binary.LittleEndian.Uint64(p.bits[8*w:])
		if w == from/64 {
			x &= ^uint64(0) << (from % 64)
		}
		if x != 0 {
			return 64*w + uint64(bits.TrailingZeros64(x)), true
		}
	}
	return 0, false
}

// Each calls fn with the picked samples in their order, in pieces.
func (p *Picker) Each(ctx context.Context, fn func(samples []uint64) error) error {
	out := make([]uint64, 0, listBlock)
	give := func() error {
		if err := ctx.Err(); err != nil || len(out) == 0 {
			return err
		}
		err := fn(out)
		out = out[:0]
		return err
	}
	if p.order == nil {
		for i, ok := p.Next(0); ok; i, ok = p.Next(i + 1) {
			if out = append(out, i); len(out) == listBlock {
				if err := give(); err != nil {
					return err
				}
			}
		}
		return give()
	}
	if err := p.buf.Flush(); err != nil {
		return ioFault(err, p.order.Name())
	}
	if _, err := p.order.Seek(0, io.SeekStart); err != nil {
		return ioFault(err, p.order.Name())
	}
	r := bufio.NewReaderSize(p.order, 1<<16)
	var b [8]byte
	for {
		if _, err := io.ReadFull(r, b[:]); errors.Is(err, io.EOF) {
			_, err = p.order.Seek(0, io.SeekEnd)
			return errors.Join(err, give())
		} else if err != nil {
			return ioFault(err, p.order.Name())
		}
		if out = append(out, binary.LittleEndian.Uint64(b[:])); len(out) == listBlock {
			if err := give(); err != nil {
				return err
			}
		}
	}
}

// Name is the path or key of a sample from the root of the dataset; it is valid
// until the next call. It is fast for numbers that ascend.
func (f *Finder) Name(i uint64) (name []byte, err error) {
	if i >= f.m.info.Samples {
		return nil, outOfRange(i, f.m.info.Samples, f.m.info.Dataset)
	}
	err = guarded(f.m.logical.path, func() error {
		if b := i / pathBlock; len(f.names) == 0 || b != f.block {
			return f.load(b)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.name = append(append(f.name[:0], f.root...), f.names[i%pathBlock]...)
	return f.name, nil
}

// Compare orders two names as samples are.
func (f *Finder) Compare(a, b []byte) int { return f.cmp(a, b) }
