package manifest

import (
	"context"
	"encoding/binary"
	"os"
	"sort"
	"sync"

	"golang.org/x/sys/unix"

	"daos/dataset/tensor"
)

// elementEnds are, for each sample of a list, the elements of a column up to its
// end: 8 bytes a sample in a mapped file without a name, made at first use. A
// column of Fixed samples needs none.
type elementEnds struct {
	mu   sync.Mutex
	data []byte
}

func (e *elementEnds) close() {
	if e.data != nil {
		_ = unix.Munmap(e.data)
		e.data = nil
	}
}

// at is the elements up to the end of sample i.
func (e *elementEnds) at(i uint64) uint64 { return binary.LittleEndian.Uint64(e.data[8*i:]) }

// of makes the ends of column k of m, a list, unless they are there.
func (e *elementEnds) of(ctx context.Context, m *Manifest, v *View, k int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.data != nil || m.info.Samples == 0 {
		return nil
	}
	f, err := os.CreateTemp(m.dir, ".ends-*")
	if err != nil {
		return ioFault(err, m.dir)
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return ioFault(err, m.dir)
	}
	data, err := mapScratch(f, 8*m.info.Samples)
	if err != nil {
		return err
	}
	size := uint64(m.info.Columns[k].ItemSize())
	var spans [listBlock]Span
	at, sum := 0, uint64(0)
	err = m.Numbers(func(samples []uint64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return v.Guard(func() error {
			if err := v.Spans(k, samples, spans[:len(samples)]); err != nil {
				return err
			}
			for i := range samples {
				sum += spans[i].Len() / size
				binary.LittleEndian.PutUint64(data[at:], sum)
				at += 8
			}
			return nil
		})
	})
	if err != nil {
		_ = unix.Munmap(data)
		return err
	}
	e.data = data
	return nil
}

// listed is the samples of a list to an elementReader, whose own numbers are
// the list's.
type listed struct {
	m    *Manifest
	ends *elementEnds // nil: every sample has as many elements
	each uint64       // elements of a sample, without ends
}

func (m *Manifest) listed(ctx context.Context, v *View, k int) (*listed, error) {
	l := &listed{m: m, each: elementsOf(&m.info.Columns[k])}
	if m.info.Columns[k].Layout != tensor.Fixed {
		l.ends = &m.ends[k]
		return l, l.ends.of(ctx, m, v, k)
	}
	return l, nil
}

// before are the elements before sample i, with those behind each sample.
func (l *listed) before(i, extra uint64) uint64 {
	switch {
	case i == 0:
		return 0
	case l.ends == nil:
		return i * (l.each + extra)
	}
	return l.ends.at(i-1) + i*extra
}

// find is the sample that holds element t of all, and which of its own it is.
func (l *listed) find(t, extra uint64) (sample, number uint64) {
	n := l.m.info.Samples
	sample = uint64(sort.Search(int(n), func(i int) bool { return l.before(uint64(i)+1, extra) > t }))
	return sample, t - l.before(sample, extra)
}

// number is a sample's number in the base.
func (l *listed) number(i uint64) (uint64, error) {
	b, err := l.m.list.at(listNumber*i, listNumber)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}
