package kv

import (
	"bytes"
	"context"
	"runtime"
	"sync"

	"daos/engine/object"
	"daos/internal/fault"
	"daos/internal/rescue"
)

// Range says which pairs a scan meets, in the byte order of (key, akey).
type Range struct {
	Prefix  []byte // only keys that begin so
	Start   []byte // from this key (inclusive), nil: the first
	Stop    []byte // to this key (exclusive), nil: the last
	Reverse bool   // in falling order
	// After is the last pair that was met: the scan goes on behind it, in its
	// direction. A nil Key: from the beginning.
	After Name
	// KeysOnly leaves out the values: those that are not large come along
	// without it.
	KeysOnly bool
}

// Pair is a pair met by Scan. Its slices are valid during the call only.
type Pair struct {
	Key, Akey []byte
	Value     Value
}

// Check refuses bounds that can't be.
func (r *Range) Check() error {
	if max(len(r.Prefix), len(r.Start), len(r.Stop), len(r.After.Key)) > MaxKey+1 || len(r.After.Akey) > MaxAkey {
		return fault.New(fault.TooBig, "kv.list", "range", "a bound is longer than a key, which has at most %d bytes", MaxKey)
	}
	return nil
}

// Scan calls fn for the pairs of a range in order until it returns false. An
// error means that pairs may be missing; there is no short result without one.
//
// It is what listings, exports, samples and queries read through: at one epoch,
// resumable at any pair, merged over the redundancy groups of the values'
// object while each of them is read in its own order.
func (v *View) Scan(ctx context.Context, r Range, fn func(*Pair) bool) error {
	if err := r.Check(); err != nil {
		return err
	}
	o := object.ListOptions{Prefix: r.Prefix, From: r.Start, To: r.Stop, Reverse: r.Reverse, KeysOnly: r.KeysOnly}
	after := r.After.Key
	switch {
	case after == nil:
	case r.Reverse:
		// The pairs of this key come again, those met already are left out.
		end := append(append(make([]byte, 0, len(after)+1), after...), 0)
		if o.To == nil || bytes.Compare(end, o.To) < 0 {
			o.To = end
		}
	default:
		if bytes.Compare(after, o.From) > 0 {
			o.From = after
		}
	}
	var failed error
	var p Pair
	err := v.d.st.List(ctx, v.at, v.d.values, o, func(it object.Item) bool {
		if len(it.Akey) == 0 || it.Akey[0] != akeyPrefix {
			failed = corrupt(show(it.Dkey), "a record that is no value")
			return false
		}
		p.Key, p.Akey = it.Dkey, it.Akey[1:]
		if after != nil && bytes.Equal(p.Key, after) {
			c := bytes.Compare(p.Akey, r.After.Akey)
			if r.Reverse {
				c = -c
			}
			if c <= 0 {
				return true
			}
		}
		switch {
		case it.Value != nil:
			p.Value.place, failed = decodePlace(it.Value, p.Key)
		case it.Size > 0: // longer than what lies in the index: it is all value
			p.Value.place = place{size: it.Size - 1}
		default:
			failed = corrupt(show(p.Key), "a record without bytes")
		}
		if failed != nil {
			return false
		}
		p.Value.Version, p.Value.Size = it.Epoch, p.Value.size
		return fn(&p)
	})
	if failed != nil {
		return failed
	}
	return err
}

// Count is the number of pairs: a pass over the index in its own order, on a few
// goroutines, where the store offers one.
func (v *View) Count(ctx context.Context) (uint64, error) {
	st, ok := v.d.st.(object.Scanner)
	if !ok {
		n := uint64(0)
		err := v.Scan(ctx, Range{KeysOnly: true}, func(*Pair) bool { n++; return true })
		return n, err
	}
	anchors := st.Anchors(runtime.GOMAXPROCS(0))
	counts := make([]uint64, len(anchors))
	errs := make([]error, len(anchors))
	var wg sync.WaitGroup
	for i, a := range anchors {
		wg.Go(func() {
			n := uint64(0)
			errs[i] = rescue.Do(func() error {
				_, err := st.Scan(ctx, v.at, a, func(r object.Row) bool {
					if r.OID == v.d.values {
						n++
					}
					return true
				})
				return err
			})
			counts[i] = n
		})
	}
	wg.Wait()
	n := uint64(0)
	for i := range counts {
		if errs[i] != nil {
			return 0, rescue.Again(errs[i])
		}
		n += counts[i]
	}
	return n, nil
}
