package kv

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"daos/engine/object"
	"daos/internal/fault"
	"daos/internal/rescue"
)

// View is a dataset at an epoch.
type View struct {
	d  *Dataset
	at object.Epoch
}

// At is the dataset at an epoch: a snapshot's, or one that ReadEpoch has given.
func (d *Dataset) At(at object.Epoch) *View { return &View{d: d, at: at} }

// Head is the dataset as it is now, not older than seen.
func (d *Dataset) Head(ctx context.Context, seen object.Epoch) (*View, error) {
	at, err := d.st.ReadEpoch(ctx, seen)
	if err != nil {
		return nil, err
	}
	return d.At(at), nil
}

// Epoch is the view's.
func (v *View) Epoch() object.Epoch { return v.at }

// Name names a value.
type Name struct{ Key, Akey []byte }

// Value is a value that was found: what is known of it, and its bytes where
// they came along.
type Value struct {
	Version object.Epoch // 0: there is none
	Size    uint64
	place
}

// Found reports whether there is a value.
func (x *Value) Found() bool { return x.Version != 0 }

// Inline returns the bytes if they came along: those of a large value have to
// be read, see View.ReadAt, and a scan of keys leaves some out.
func (x *Value) Inline() ([]byte, bool) {
	return x.plain, !x.bulk() && x.Found() && uint64(len(x.plain)) == x.Size
}

// Get finds one value; fault.NotFound if there is none.
func (v *View) Get(ctx context.Context, key, akey []byte) (Value, error) {
	if err := CheckName(key, akey); err != nil {
		return Value{}, err
	}
	b, e, err := v.d.st.Get(ctx, v.at, v.d.values, key, valueAkey(akey))
	if fault.Is(err, fault.NotFound) {
		return Value{}, v.missing(ctx, key, akey)
	}
	if err != nil {
		return Value{}, err
	}
	p, err := decodePlace(b, key)
	return Value{Version: e, Size: p.size, place: p}, err
}

// missing says that there is no such value; of a key that has others, under which
// names.
func (v *View) missing(ctx context.Context, key, akey []byte) error {
	const most = 3
	var names []string
	end := append(append(make([]byte, 0, len(key)+1), key...), 0)
	err := v.d.st.List(ctx, v.at, v.d.values, object.ListOptions{From: key, To: end, KeysOnly: true}, func(it object.Item) bool {
		names = append(names, fmt.Sprintf("%q", it.Akey[1:]))
		return len(names) <= most
	})
	if err != nil || len(names) == 0 {
		return notFound(key)
	}
	if len(names) > most {
		names[most] = "..."
	}
	which := "itself"
	if len(akey) > 0 {
		which = fmt.Sprintf("under the akey %q", akey)
	}
	return fault.New(fault.NotFound, "kv.get", show(key), "it has no value %s; it has some under the akeys %s", which, strings.Join(names, ", ")).
		Do("name one of them (--akey; akey=)")
}

// roundSize is how many values are looked up before the budget is looked at:
// of those that come with their record, so many have at most 64 MiB.
const roundSize = 256

// parallelFrom is how many look-ups are worth another goroutine.
const parallelFrom = 64

// GetMany finds values by name, in the order given; those that are not there
// have Version 0. It stops looking when the values found so far have more than
// budget bytes (0: no bound), and returns those before that point: at least
// one of several, and a large value counts as its record.
func (v *View) GetMany(ctx context.Context, names []Name, budget uint64) ([]Value, error) {
	for i := range names {
		if err := CheckName(names[i].Key, names[i].Akey); err != nil {
			return nil, err
		}
	}
	out := make([]Value, len(names))
	done := 0
	used := uint64(0)
	for done < len(names) {
		n := len(names) - done
		if budget > 0 {
			n = min(n, roundSize)
		}
		if err := v.lookUp(ctx, names[done:done+n], out[done:done+n]); err != nil {
			return nil, err
		}
		if budget == 0 {
			done += n
			continue
		}
		for range n {
			used += uint64(len(out[done].plain))
			if used > budget && done > 0 {
				return out[:done], nil
			}
			done++
		}
	}
	return out, nil
}

// lookUp fills out on a few goroutines.
func (v *View) lookUp(ctx context.Context, names []Name, out []Value) error {
	workers := min(runtime.GOMAXPROCS(0), len(names)/parallelFrom)
	if workers <= 1 {
		return v.lookUpPart(ctx, names, out)
	}
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		lo, hi := len(names)*w/workers, len(names)*(w+1)/workers
		wg.Go(func() {
			errs[w] = rescue.Do(func() error { return v.lookUpPart(ctx, names[lo:hi], out[lo:hi]) })
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return rescue.Again(err)
		}
	}
	return nil
}

func (v *View) lookUpPart(ctx context.Context, names []Name, out []Value) error {
	if many, ok := v.d.st.(object.ManyGetter); ok && len(names) > 1 {
		wanted := make([]object.Name, len(names))
		for i := range names {
			wanted[i] = object.Name{Dkey: names[i].Key, Akey: valueAkey(names[i].Akey)}
		}
		var failed error
		err := many.GetMany(ctx, v.at, v.d.values, wanted, func(i int, b []byte, version object.Epoch) {
			p, err := decodePlace(b, names[i].Key)
			if err != nil {
				failed = err
			}
			out[i] = Value{Version: version, Size: p.size, place: p}
		})
		if err == nil {
			err = failed
		}
		return err
	}
	for i := range names {
		x, err := v.Get(ctx, names[i].Key, names[i].Akey)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		out[i] = x
	}
	return nil
}

// ReadAt fills p with the bytes of a value of this view from off on; off+len(p)
// is not beyond its size.
func (v *View) ReadAt(ctx context.Context, x *Value, off uint64, p []byte) error {
	if off > x.Size || uint64(len(p)) > x.Size-off {
		return fault.New(fault.Invalid, "kv.read", "value", "%d bytes at %d of %d", len(p), off, x.Size)
	}
	if !x.bulk() {
		copy(p, x.plain[off:])
		return nil
	}
	oid := v.d.bulkID(x.number)
	for len(p) > 0 {
		n := min(uint64(len(p)), chunkSize-off%chunkSize)
		if err := v.d.st.ReadArray(ctx, v.at, oid, chunkKey(off/chunkSize), akeyData, off%chunkSize, p[:n]); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// Bytes returns all bytes of a value, which are the caller's.
func (v *View) Bytes(ctx context.Context, x *Value) ([]byte, error) {
	if b, ok := x.Inline(); ok {
		return b, nil
	}
	b := make([]byte, x.Size)
	return b, v.ReadAt(ctx, x, 0, b)
}

// Schema is the declared schema at the view's epoch; nil if there is none.
func (v *View) Schema(ctx context.Context) (*Schema, error) {
	s, err := v.d.readSuper(ctx, v.at)
	if err != nil {
		return nil, err
	}
	return v.d.schemaOf(s)
}
