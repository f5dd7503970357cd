package vos

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"daos/engine/object"
	"daos/engine/segment"
	"daos/engine/target"
	"daos/internal/fault"
)

// objectCover is the newest punch of an object's group at or below an epoch.
func (t *Target) objectCover(at object.Epoch, p target.Place) (version, error) {
	if !t.punches.has(p) {
		return version{}, nil
	}
	head := appendHead(make([]byte, 0, headSize+versionSize), planePunch, p)
	it, err := t.newIter(&pebble.IterOptions{LowerBound: head, UpperBound: keyEnd(head)})
	if err != nil {
		return version{}, t.indexError("vos.read", err)
	}
	defer it.Close()
	if it.SeekGE(appendAt(head, at)) {
		return versionOf(it.Key()), nil
	}
	return version{}, t.indexError("vos.read", it.Error())
}

// cursor is an iterator over the rows of one dkey.
type cursor struct {
	t  *Target
	it *pebble.Iterator
}

// cursor is for the dkey that p and dkey name, in one plane or more.
func (t *Target) cursor(p target.Place, dkey []byte, planes ...byte) (cursor, error) {
	if err := t.readyAt(p, dkey, planes...); err != nil {
		return cursor{}, err
	}
	return t.bareCursor()
}

// wideCursor is for any dkey.
func (t *Target) wideCursor() (cursor, error) {
	if err := t.show(); err != nil {
		return cursor{}, err
	}
	return t.bareCursor()
}

// bareCursor is for dkeys that readyAt was asked for.
func (t *Target) bareCursor() (cursor, error) {
	it, err := t.bareIter(nil)
	if err != nil {
		return cursor{}, t.indexError("vos.read", err)
	}
	return cursor{t, it}, nil
}

func (c cursor) close() { _ = c.it.Close() } // errors were taken where the iterator stopped

func (c cursor) err() error { return c.t.indexError("vos.read", c.it.Error()) }

// record decodes the value under the cursor.
func (c cursor) record(array bool) (record, error) { return c.t.recordAt(c.it, array) }

func (t *Target) recordAt(it *pebble.Iterator, array bool) (record, error) {
	v, err := it.ValueAndErr()
	if err != nil {
		return record{}, t.indexError("vos.read", err)
	}
	r, ok := decodeRecord(v, array)
	if !ok {
		return r, t.badKey("vos.read", it.Key())
	}
	if r.typ == typeInline && segment.Sum(r.payload) != r.sum {
		return r, fault.New(fault.Corrupt, "vos.read", t.guard.PathJoin(t.opts.Dir, "index"), "an inline value does not match its checksum, %s", describe(it.Key()))
	}
	return r, nil
}

// Get returns the newest visible single value at or below an epoch.
func (t *Target) Get(at object.Epoch, p target.Place, dkey, akey []byte) (target.Version, error) {
	if err := t.enter(); err != nil {
		return target.Version{}, err
	}
	defer t.leave()
	cover, err := t.objectCover(at, p)
	if err != nil {
		return target.Version{}, err
	}
	c, err := t.cursor(p, dkey, planeName)
	if err != nil {
		return target.Version{}, err
	}
	defer c.close()
	v, r, ok, err := c.single(at, p, cover, dkey, akey)
	if err != nil {
		return target.Version{}, err
	}
	if !ok {
		return target.Version{}, fault.New(fault.NotFound, "vos.get", p.OID.String(), "no value at dkey %q, akey %q", dkey, akey)
	}
	return target.Version{Epoch: v.epoch, Record: r.object(t.opts.ID)}, nil
}

// single finds the visible value of one akey. One seek meets the punches of
// the dkey and, where they are neighbours, the value too.
func (c cursor) single(at object.Epoch, p target.Place, cover version, dkey, akey []byte) (version, record, bool, error) {
	prefix, n := appendAkey(make([]byte, 0, 160), planeName, p, dkey, akey)
	want := prefix[n:]
	seek := append(make([]byte, 0, 160), prefix[:n]...)
	ok := c.it.SeekPrefixGE(appendAt(append(seek, tagDkey), at))
	if ok && c.it.Key()[n] == tagDkey {
		if v := versionOf(c.it.Key()); v.newer(cover) {
			cover = v
		}
		ok = c.it.SeekPrefixGE(appendAt(append(seek, want...), at))
	} else if ok && !(bytes.HasPrefix(c.it.Key()[n:], want) && versionOf(c.it.Key()).epoch <= at) {
		ok = c.it.SeekPrefixGE(appendAt(append(seek, want...), at))
	}
	if !ok || !bytes.HasPrefix(c.it.Key()[n:], want) {
		return version{}, record{}, false, c.err()
	}
	v := versionOf(c.it.Key())
	r, err := c.record(false)
	if err != nil || r.typ == typePunch || cover.newer(v) {
		return v, r, false, err
	}
	return v, r, true, nil
}

// dkeyCover is the newest punch of a dkey in a plane at or below an epoch, or
// cover if that is newer. prefix ends with the dkey.
func (c cursor) dkeyCover(at object.Epoch, prefix []byte, cover version) (version, error) {
	seek := append(append(make([]byte, 0, 160), prefix...), tagDkey)
	if c.it.SeekPrefixGE(appendAt(seek, at)) && c.it.Key()[len(prefix)] == tagDkey {
		if v := versionOf(c.it.Key()); v.newer(cover) {
			cover = v
		}
		return cover, nil
	}
	return cover, c.err()
}

// Exists reports whether a dkey (akey nil) or an akey has anything visible.
func (t *Target) Exists(at object.Epoch, p target.Place, dkey, akey []byte) (bool, error) {
	if err := t.enter(); err != nil {
		return false, err
	}
	defer t.leave()
	cover, err := t.objectCover(at, p)
	if err != nil {
		return false, err
	}
	c, err := t.cursor(p, dkey, planeName, planeExtent)
	if err != nil {
		return false, err
	}
	defer c.close()
	if akey != nil {
		if _, _, ok, err := c.single(at, p, cover, dkey, akey); ok || err != nil {
			return ok, err
		}
		end, err := c.arrayEnd(at, p, cover, dkey, akey)
		return end > 0, err
	}
	prefix := appendDkey(nil, planeName, p, dkey)
	found, err := c.anySingle(at, prefix, cover)
	if found || err != nil {
		return found, err
	}
	found = false
	err = t.eachArray(at, p, prefix[headSize:], nil, func(_, akey []byte) (bool, error) {
		end, err := c.arrayEnd(at, p, cover, dkey, akey)
		found = end > 0
		return !found, err
	})
	return found, err
}

func (c cursor) anySingle(at object.Epoch, prefix []byte, cover version) (bool, error) {
	cover, err := c.dkeyCover(at, prefix, cover)
	if err != nil {
		return false, err
	}
	var decided []byte
	for ok := c.it.SeekPrefixGE(append(bytes.Clone(prefix), tagAkey)); ok; ok = c.it.Next() {
		k := c.it.Key()
		v, akey := versionOf(k), k[:len(k)-versionSize]
		if v.epoch > at || bytes.Equal(akey, decided) {
			continue
		}
		decided = append(decided[:0], akey...)
		r, err := c.record(false)
		if err != nil {
			return false, err
		}
		if r.typ != typePunch && !cover.newer(v) {
			return true, nil
		}
	}
	return false, c.err()
}

// Newest returns the epoch of the newest change to what r names.
func (t *Target) Newest(p target.Place, r object.Read) (object.Epoch, error) {
	if err := t.enter(); err != nil {
		return 0, err
	}
	defer t.leave()
	cover, err := t.objectCover(object.EpochMax, p)
	if err != nil {
		return 0, err
	}
	newest := cover.epoch
	var akey []byte
	if r.Akey != nil {
		akey = appendEscaped(nil, r.Akey)
	}
	for _, plane := range []byte{planeName, planeExtent} {
		lower := appendDkey(nil, plane, p, r.From)
		var upper []byte
		switch {
		case r.Point:
			upper = keyEnd(lower)
		case r.To != nil:
			upper = appendDkey(nil, plane, p, r.To)
		default:
			upper = keyEnd(appendHead(nil, plane, p))
		}
		e, err := t.newestIn(lower, upper, r.Point, akey)
		if err != nil {
			return 0, err
		}
		newest = max(newest, e)
	}
	return newest, nil
}

func (t *Target) newestIn(lower, upper []byte, point bool, akey []byte) (newest object.Epoch, err error) {
	if bytes.Compare(lower, upper) >= 0 {
		return 0, nil
	}
	look := t.show
	if point {
		look = func() error { return t.ready(lower) }
	}
	if err := look(); err != nil {
		return 0, err
	}
	it, err := t.bareIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return 0, t.indexError("vos.read", err)
	}
	defer it.Close()
	ok := false
	if point {
		ok = it.SeekPrefixGE(lower)
	} else {
		ok = it.First()
	}
	for ; ok; ok = it.Next() {
		k := it.Key()
		v := versionOf(k)
		if v.epoch <= newest {
			continue
		}
		if akey != nil {
			p, ok := parseKey(k)
			if !ok {
				return 0, t.badKey("vos.newest", k)
			}
			if p.tag == tagAkey && !bytes.Equal(p.akey, akey) {
				continue
			}
		}
		newest = v.epoch
	}
	return newest, t.indexError("vos.read", it.Error())
}

// scratch is a buffer for one verified read.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// ReadRecord reads and verifies bytes [skip, skip+len(p)) of a record: of the
// granules touched, all bytes are read and none returned before all match.
func (t *Target) ReadRecord(ds object.DatasetID, r object.Record, skip uint64, p []byte) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	return t.readVerified(ds, r, skip, p, nil)
}

// readVerified names key in its error, or finds it out where that is nil.
func (t *Target) readVerified(ds object.DatasetID, r object.Record, skip uint64, p, key []byte) error {
	if len(p) == 0 {
		return nil
	}
	if skip > r.Length || uint64(len(p)) > r.Length-skip {
		return fault.New(fault.Invalid, "vos.read", t.opts.Dir, "bytes [%d, %d) of a record of %d", skip, skip+uint64(len(p)), r.Length)
	}
	if r.Inline != nil {
		if uint64(len(r.Inline)) != r.Length || len(r.Sums) != 1 || segment.Sum(r.Inline) != r.Sums[0] {
			return fault.New(fault.Corrupt, "vos.read", t.opts.Dir, "an inline value does not match its checksum")
		}
		copy(p, r.Inline[skip:])
		return nil
	}
	if len(r.Sums) != granules(r.Length) {
		return fault.New(fault.Invalid, "vos.read", t.opts.Dir, "a record of %d bytes with %d checksums", r.Length, len(r.Sums))
	}
	f, err := t.segs.Get(uint64(ds), r.Segment)
	if err != nil {
		return err
	}
	defer f.Release()
	lo := skip / object.Granule * object.Granule
	hi := min((skip+uint64(len(p))+object.Granule-1)/object.Granule*object.Granule, r.Length)
	buf := p
	if uint64(len(p)) != hi-lo {
		s := scratch.Get().(*[]byte)
		defer scratch.Put(s)
		if uint64(cap(*s)) < hi-lo {
			*s = make([]byte, hi-lo)
		}
		buf = (*s)[:hi-lo]
	}
	if err := f.ReadAt(buf, r.Pos+lo); err != nil {
		return err
	}
	for at := uint64(0); at < uint64(len(buf)); at += object.Granule {
		g := buf[at:min(at+object.Granule, uint64(len(buf)))]
		if want := r.Sums[(lo+at)/object.Granule]; segment.Sum(g) != want {
			clear(p)
			from := r.Pos + lo + at
			owner := ""
			if key == nil {
				owner = t.ownerOf(ds, r.Segment, from)
			}
			return fault.New(fault.Corrupt, "vos.read", f.Name(), "bytes [%d, %d) do not match their checksum, dataset %d%s",
				from, from+uint64(len(g)), ds, owner).Do("restore the dataset from a copy; run a scrub to list what is damaged")
		}
	}
	if uint64(len(p)) != hi-lo {
		copy(p, buf[skip-lo:])
	}
	return nil
}

// verify reads a whole record; key names it in the error.
func (t *Target) verify(ds object.DatasetID, r object.Record, key []byte) error {
	const step = 1 << 20
	s := scratch.Get().(*[]byte)
	defer scratch.Put(s)
	if cap(*s) < step {
		*s = make([]byte, step)
	}
	buf := (*s)[:step]
	for at := uint64(0); at < r.Length; at += step {
		n := min(step, r.Length-at)
		if err := t.readVerified(ds, r, at, buf[:n], key); err != nil {
			return nameKey(err, key)
		}
	}
	return nil
}

// owners remembers whose bytes were found damaged: finding out takes a pass
// over the dataset, which a client that reads them again must not cause again.
type owners struct {
	mu    sync.Mutex
	known map[[3]uint64]string
}

const ownersMax = 1024

// ownerOf names the object whose record covers a position of a segment.
func (t *Target) ownerOf(ds object.DatasetID, seg, pos uint64) (name string) {
	o, k := &t.owners, [3]uint64{uint64(ds), seg, pos}
	o.mu.Lock() // over the pass: one at a time is enough
	defer o.mu.Unlock()
	if name, ok := o.known[k]; ok {
		return name
	}
	if len(o.known) >= ownersMax {
		return ""
	}
	found := errors.New("found")
	for _, plane := range []byte{planeExtent, planeName} {
		err := t.eachRow(appendDataset(nil, ds, plane), func(key, v []byte) error {
			r, ok := decodeRecord(v, plane == planeExtent)
			if ok && r.typ == typeSegment && r.segment == seg && r.pos <= pos && pos < r.pos+r.length {
				name = ", " + describe(key)
				return found
			}
			return nil
		})
		if errors.Is(err, found) {
			break
		}
	}
	if o.known == nil {
		o.known = map[[3]uint64]string{}
	}
	o.known[k] = name
	return name
}

// nameKey adds to a corruption error whose bytes are damaged.
func nameKey(err error, key []byte) error {
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != fault.Corrupt || strings.Contains(e.Detail, "object ") {
		return err
	}
	c := *e
	c.Detail += ", " + describe(key)
	return &c
}

// describe says in words what a key is about.
func describe(key []byte) string {
	p, ok := parseKey(key)
	if !ok {
		return "key " + formatKey(key)
	}
	s := "object " + p.place.OID.String()
	if p.dkey != nil {
		d, _ := unescape(nil, p.dkey)
		s += " dkey " + strconv.Quote(string(d))
	}
	if p.akey != nil {
		a, _ := unescape(nil, p.akey)
		s += " akey " + strconv.Quote(string(a))
	}
	return s
}
