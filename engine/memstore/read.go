package memstore

import (
	"context"
	"hash/crc32"
	"slices"
	"sort"

	"daos/engine/object"
	"daos/internal/fault"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// cover is the newest of punches at or below at: versions before it are gone.
func cover(punches []stamp, at object.Epoch) stamp {
	for i := len(punches) - 1; i >= 0; i-- {
		if punches[i].epoch <= at {
			return punches[i]
		}
	}
	return stamp{}
}

func later(a, b stamp) stamp {
	if a.less(b) {
		return b
	}
	return a
}

// visible is the newest single value at or below at that floor does not cover.
func (a *akey) visible(floor stamp, at object.Epoch) (single, bool) {
	floor = later(floor, cover(a.punches, at))
	for i := len(a.singles) - 1; i >= 0; i-- {
		if v := a.singles[i]; v.epoch <= at {
			return v, floor.less(v.stamp)
		}
	}
	return single{}, false
}

// pieces overlays the extents that are visible of [off, off+n), newest first.
func (a *akey) pieces(floor stamp, at object.Epoch, off, n uint64) []object.Extent {
	floor = later(floor, cover(a.punches, at))
	type gap struct{ from, to uint64 }
	open := []gap{{off, off + n}}
	var out []object.Extent
	for i := len(a.extents) - 1; i >= 0 && len(open) > 0; i-- {
		x := &a.extents[i]
		if x.epoch > at || !floor.less(x.stamp) {
			continue
		}
		var rest []gap
		for _, g := range open {
			lo, hi := max(g.from, x.off), min(g.to, x.off+x.n)
			if lo >= hi {
				rest = append(rest, g)
				continue
			}
			if x.data != nil {
				out = append(out, object.Extent{Offset: lo, Length: hi - lo, Skip: lo - x.off, Record: record(x.data)})
			}
			if g.from < lo {
				rest = append(rest, gap{g.from, lo})
			}
			if hi < g.to {
				rest = append(rest, gap{hi, g.to})
			}
		}
		open = rest
	}
	slices.SortFunc(out, func(p, q object.Extent) int {
		if p.Offset < q.Offset {
			return -1
		}
		return 1
	})
	return out
}

func record(data []byte) object.Record {
	r := object.Record{Length: uint64(len(data)), Inline: data}
	if len(data) <= object.Granule {
		r.Sums = []uint32{crc32.Checksum(data, castagnoli)}
		return r
	}
	for i := 0; i < len(data); i += object.Granule {
		r.Sums = append(r.Sums, crc32.Checksum(data[i:min(i+object.Granule, len(data))], castagnoli))
	}
	return r
}

func (a *akey) exists(floor stamp, at object.Epoch) bool {
	if _, ok := a.visible(floor, at); ok {
		return true
	}
	return a.hasArray(floor, at)
}

func (a *akey) hasArray(floor stamp, at object.Epoch) bool {
	return len(a.extents) > 0 && len(a.pieces(floor, at, 0, object.MaxArray)) > 0
}

// find returns an akey and what covers it from above; the caller holds mu.
func (s *Store) find(at object.Epoch, oid object.ID, dk, ak []byte) (*akey, stamp) {
	o := s.objects[oid]
	if o == nil {
		return nil, stamp{}
	}
	d := o.dkeys[string(dk)]
	if d == nil {
		return nil, stamp{}
	}
	return d.akeys[string(ak)], later(cover(o.punches, at), cover(d.punches, at))
}

// Get implements object.Reader.
func (s *Store) Get(ctx context.Context, at object.Epoch, oid object.ID, dk, ak []byte) ([]byte, object.Epoch, error) {
	if err := object.CheckKey(oid, dk, ak); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.readable(ctx, at); err != nil {
		return nil, 0, err
	}
	if a, floor := s.find(at, oid, dk, ak); a != nil {
		if v, ok := a.visible(floor, at); ok {
			return append([]byte{}, v.data...), v.epoch, nil
		}
	}
	return nil, 0, fault.New(fault.NotFound, "object.get", object.KeyName(oid, dk, ak), "no value at epoch %d", uint64(at))
}

// Extents implements object.Reader.
func (s *Store) Extents(ctx context.Context, at object.Epoch, oid object.ID, dk, ak []byte, off, n uint64) ([]object.Extent, error) {
	if err := object.CheckRange(oid, dk, ak, off, n); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.readable(ctx, at); err != nil {
		return nil, err
	}
	a, floor := s.find(at, oid, dk, ak)
	if a == nil {
		return nil, nil
	}
	return a.pieces(floor, at, off, n), nil
}

// ReadArray implements object.Reader.
func (s *Store) ReadArray(ctx context.Context, at object.Epoch, oid object.ID, dk, ak []byte, off uint64, p []byte) error {
	xs, err := s.Extents(ctx, at, oid, dk, ak, off, uint64(len(p)))
	if err != nil {
		return err
	}
	clear(p)
	for _, x := range xs {
		copy(p[x.Offset-off:], x.Record.Inline[x.Skip:x.Skip+x.Length])
	}
	return nil
}

// ArrayEnd implements object.Reader.
func (s *Store) ArrayEnd(ctx context.Context, at object.Epoch, oid object.ID, dk, ak []byte) (uint64, error) {
	xs, err := s.Extents(ctx, at, oid, dk, ak, 0, object.MaxArray)
	if err != nil || len(xs) == 0 {
		return 0, err
	}
	x := xs[len(xs)-1]
	return x.Offset + x.Length, nil
}

// chunk is how many items are copied out under the lock at a time, so that the
// callbacks of List and Scan may call the store.
const chunk = 256

// List implements object.Lister.
func (s *Store) List(ctx context.Context, at object.Epoch, oid object.ID, opt object.ListOptions, fn func(object.Item) bool) error {
	if err := opt.Check(oid); err != nil {
		return err
	}
	left := opt.Limit
	return s.walk(ctx, at, oid, &opt, func(d *dkey, name string, floor stamp) []func() bool {
		var out []func() bool
		for _, k := range d.order.sorted() {
			if opt.Akey != nil && k != string(opt.Akey) {
				continue
			}
			if v, ok := d.akeys[k].visible(floor, at); ok {
				it := object.Item{Dkey: []byte(name), Akey: []byte(k), Epoch: v.epoch, Value: append([]byte{}, v.data...), Size: uint64(len(v.data))}
				if opt.Records {
					it.Record = record(v.data)
				}
				if (opt.KeysOnly || opt.Records) && len(v.data) > object.InlineMax {
					it.Value = nil
				}
				out = append(out, func() bool {
					if !fn(it) {
						return false
					}
					left--
					return left != 0
				})
			}
		}
		return out
	})
}

// ListArrays implements object.Lister.
func (s *Store) ListArrays(ctx context.Context, at object.Epoch, oid object.ID, opt object.ListOptions, fn func(dkey, akey []byte) bool) error {
	if err := opt.CheckArrays(oid); err != nil {
		return err
	}
	left := opt.Limit
	return s.walk(ctx, at, oid, &opt, func(d *dkey, name string, floor stamp) []func() bool {
		var out []func() bool
		for _, k := range d.order.sorted() {
			if opt.Akey != nil && k != string(opt.Akey) {
				continue
			}
			if d.akeys[k].hasArray(floor, at) {
				dk, ak := []byte(name), []byte(k)
				out = append(out, func() bool {
					if !fn(dk, ak) {
						return false
					}
					left--
					return left != 0
				})
			}
		}
		return out
	})
}

// walk visits the dkeys within opt's bounds in its direction. visit runs under
// the lock and returns calls that run outside of it.
func (s *Store) walk(ctx context.Context, at object.Epoch, oid object.ID, opt *object.ListOptions,
	visit func(d *dkey, name string, floor stamp) []func() bool) error {
	lo, hi := opt.Bounds()
	from, to := string(lo), string(hi)
	bounded := hi != nil
	for {
		var calls []func() bool
		done, err := func() (bool, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if err := s.readable(ctx, at); err != nil {
				return true, err
			}
			o := s.objects[oid]
			if o == nil {
				return true, nil
			}
			keys := o.order.sorted()
			i := sort.SearchStrings(keys, from)
			j := len(keys)
			if bounded {
				j = max(i, sort.SearchStrings(keys, to))
			}
			floor := cover(o.punches, at)
			for n := 0; i < j; n++ {
				if n == chunk {
					return false, nil
				}
				k := keys[i]
				if opt.Reverse {
					j--
					k = keys[j]
					to, bounded = k, true
				} else {
					i++
					from = k + "\x00"
				}
				d := o.dkeys[k]
				got := visit(d, k, later(floor, cover(d.punches, at)))
				if opt.Reverse {
					slices.Reverse(got)
				}
				calls = append(calls, got...)
			}
			return true, nil
		}()
		if err != nil {
			return err
		}
		for _, call := range calls {
			if !call() {
				return nil
			}
		}
		if done {
			return nil
		}
	}
}
