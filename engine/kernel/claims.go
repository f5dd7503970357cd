package kernel

import (
	"slices"
	"sort"

	"daos/engine/object"
)

// claimTable knows who claims what: by object, dkey and akey in hash tables,
// and ranges of dkeys (and whole objects) in a list per object. A transaction
// looks only at the lists that its own keys lead to.
//
// A transaction that comes when nobody else is there is only noted (alone): what
// it claims is entered when a second one comes. A single writer of batches never
// pays for it.
type claimTable struct {
	objects map[object.ID]*objectClaims
	alone   *txn
	dropped mode // of the claims of alone
}

// empty reports whether nobody claims anything.
func (ct *claimTable) empty() bool { return ct.alone == nil && len(ct.objects) == 0 }

// enter enters what is only noted.
func (ct *claimTable) enter() {
	t := ct.alone
	if t == nil {
		return
	}
	ct.alone = nil
	ct.add(t)
	if ct.dropped != 0 {
		ct.drop(t, ct.dropped)
	}
}

type objectClaims struct {
	dkeys map[string]*dkeyClaims
	wide  []wideClaim
	// order is the dkeys sorted, made when a range needs it.
	order []string
	stale bool
}

type dkeyClaims struct {
	whole claimList
	akeys map[string]*claimList
}

// claimList is the claims on one thing, in order of arrival.
type claimList struct{ all []claim }

type claim struct {
	t    *txn
	mode mode
}

type wideClaim struct {
	claim
	span *span
}

// held is a place where a transaction has a claim.
type held struct {
	oid        object.ID
	obj        *objectClaims
	dkey, akey string
	dk         *dkeyClaims // nil: in obj.wide
	list       *claimList
	span       *span
}

func (s *span) covers(dkey string) bool { return dkey >= s.from && (!s.bounded || dkey < s.to) }

func (s *span) overlaps(o *span) bool {
	if s.bounded && s.to <= o.from || o.bounded && o.to <= s.from {
		return false
	}
	return s.akey == "" || o.akey == "" || s.akey == o.akey
}

// maxDoom bounds how far a read looks back for writers that would outdate it,
// beyond those that it has to wait for.
const maxDoom = 256

// meet tells gather about each earlier claim in the list that a claim of s has
// to wait for.
func (l *claimList) meet(s *span, gather func(*txn, mode)) {
	for i := len(l.all) - 1; i >= 0; i-- {
		c := l.all[i]
		gather(c.t, conflict(s, c.mode))
		if c.mode == reading|writing {
			// It waits, or has waited, for everything before it on this list.
			if s.versioned {
				for j := i - 1; j >= max(0, i-maxDoom); j-- {
					if c := l.all[j]; c.mode&writing != 0 {
						gather(c.t, dooming)
					}
				}
			}
			return
		}
	}
}

// conflict is what a later claim waits for: writing, until the earlier one is
// decided; reading, until it is validated; 0, for nothing. dooming: a commit of
// the earlier one outdates what the later one has read.
func conflict(s *span, earlier mode) mode {
	switch later := s.mode; {
	case later&reading != 0 && earlier&writing != 0:
		if s.versioned {
			return writing | dooming
		}
		return writing
	case later&writing != 0 && earlier&reading != 0:
		return reading
	}
	return 0
}

// blockers calls gather for every transaction that s has to wait for.
func (ct *claimTable) blockers(s *span, gather func(*txn, mode)) {
	o := ct.objects[s.oid]
	if o == nil {
		return
	}
	for i := range o.wide {
		w := &o.wide[i]
		if s.wide && s.overlaps(w.span) || !s.wide && w.span.covers(s.from) && (s.akey == "" || w.span.akey == "" || s.akey == w.span.akey) {
			gather(w.t, conflict(s, w.mode))
		}
	}
	if !s.wide {
		if d := o.dkeys[s.from]; d != nil {
			d.blockers(s, gather)
		}
		return
	}
	keys := o.sorted()
	for i := sort.SearchStrings(keys, s.from); i < len(keys) && s.covers(keys[i]); i++ {
		o.dkeys[keys[i]].blockers(s, gather)
	}
}

func (d *dkeyClaims) blockers(s *span, gather func(*txn, mode)) {
	d.whole.meet(s, gather)
	if s.akey != "" {
		if l := d.akeys[s.akey]; l != nil {
			l.meet(s, gather)
		}
		return
	}
	for _, l := range d.akeys { // what is gathered is a set: order is not seen
		l.meet(s, gather)
	}
}

func (o *objectClaims) sorted() []string {
	if o.stale {
		o.order = o.order[:0]
		for k := range o.dkeys {
			o.order = append(o.order, k)
		}
		slices.Sort(o.order)
		o.stale = false
	}
	return o.order
}

// note adds t, the only one there is.
func (ct *claimTable) note(t *txn) { ct.alone, ct.dropped = t, 0 }

// add enters the claims of t.
func (ct *claimTable) add(t *txn) {
	claims := t.plan.claimed()
	for i := range claims {
		s := &claims[i]
		o := ct.objects[s.oid]
		if o == nil {
			o = &objectClaims{dkeys: map[string]*dkeyClaims{}}
			ct.objects[s.oid] = o
		}
		if s.wide {
			o.wide = append(o.wide, wideClaim{claim{t, s.mode}, s})
			t.held = append(t.held, held{oid: s.oid, obj: o, span: s})
			continue
		}
		d := o.dkeys[s.from]
		if d == nil {
			d = &dkeyClaims{akeys: map[string]*claimList{}}
			o.dkeys[s.from] = d
			o.stale = true
		}
		l := &d.whole
		if s.akey != "" {
			if l = d.akeys[s.akey]; l == nil {
				l = &claimList{}
				d.akeys[s.akey] = l
			}
		}
		if n := len(l.all); n > 0 && l.all[n-1].t == t {
			l.all[n-1].mode |= s.mode
			continue
		}
		l.all = append(l.all, claim{t, s.mode})
		t.held = append(t.held, held{s.oid, o, s.from, s.akey, d, l, s})
	}
}

// drop takes a mode off the claims of t.
func (ct *claimTable) drop(t *txn, m mode) {
	if ct.alone == t {
		if ct.dropped |= m; ct.dropped&writing != 0 {
			ct.alone = nil
		}
		return
	}
	keep := t.held[:0]
	for _, h := range t.held {
		if h.dk == nil {
			if h.span.mode&^m != 0 {
				keep = append(keep, h)
				continue
			}
			h.obj.wide = slices.DeleteFunc(h.obj.wide, func(w wideClaim) bool { return w.span == h.span })
			ct.tidy(h)
			continue
		}
		i := slices.IndexFunc(h.list.all, func(c claim) bool { return c.t == t })
		h.list.all[i].mode &^= m
		if h.list.all[i].mode != 0 {
			keep = append(keep, h)
			continue
		}
		h.list.all = slices.Delete(h.list.all, i, i+1)
		ct.tidy(h)
	}
	clear(t.held[len(keep):])
	t.held = keep
}

// tidy removes what no claim is left in.
func (ct *claimTable) tidy(h held) {
	if h.dk != nil {
		if h.akey != "" && len(h.list.all) == 0 {
			delete(h.dk.akeys, h.akey)
		}
		if len(h.dk.akeys) == 0 && len(h.dk.whole.all) == 0 {
			delete(h.obj.dkeys, h.dkey)
			h.obj.stale = true
		}
	}
	if len(h.obj.dkeys) == 0 && len(h.obj.wide) == 0 {
		delete(ct.objects, h.oid)
	}
}
