package kernel

import (
	"daos/engine/object"
	"daos/engine/placement"
	"daos/engine/target"
)

// Plan is a transaction with the places of its writes: what the kernel keeps
// of it, made outside of all locks.
type Plan struct {
	Dataset object.DatasetID
	Tx      *object.Tx
	Bytes   int64
	// Batches is the part of each participant, in rising order of target; their
	// Epoch is set when the kernel gives it.
	Batches []target.Batch
	Targets []uint16 // of Batches

	claims []span // nil: not listed yet, see claimed
}

// span is the part of an object that a transaction claims.
type span struct {
	oid      object.ID
	mode     mode
	wide     bool // dkeys [from, to); else the dkey in from
	from, to string
	bounded  bool   // to holds
	akey     string // "": all
	// versioned: a Read of the transaction, outdated by any write after ReadAt.
	versioned bool
}

type mode uint8

const (
	reading mode = 1
	writing mode = 2
	dooming mode = 4 // only between claims: see conflict
)

// Place is where one redundancy group of an object lies.
func Place(l *placement.Layout, ds object.DatasetID, oid object.ID, group uint16) (target.Place, uint16) {
	h := placement.Hash32(oid, group)
	return target.Place{Dataset: ds, Hash: h, OID: oid, Group: group}, l.Target(h, 0)
}

// NewPlan places a validated transaction. It keeps tx.
func NewPlan(ds object.DatasetID, tx *object.Tx, l *placement.Layout) *Plan {
	p := &Plan{Dataset: ds, Tx: tx, Bytes: tx.Bytes()}
	p.place(l)
	return p
}

func (p *Plan) place(l *placement.Layout) {
	tx := p.Tx
	var at [64]int // target -> place in Batches, +1; beyond: searched
	batch := func(id uint16) *target.Batch {
		if int(id) < len(at) && at[id] > 0 {
			return &p.Batches[at[id]-1]
		}
		for i := range p.Batches {
			if p.Targets[i] == id {
				return &p.Batches[i]
			}
		}
		p.Targets = append(p.Targets, id)
		p.Batches = append(p.Batches, target.Batch{Dataset: p.Dataset, Deferred: tx.Deferred})
		if int(id) < len(at) {
			at[id] = len(p.Batches)
		}
		return &p.Batches[len(p.Batches)-1]
	}
	// First where each write goes, so that the lists are made as long as they get.
	type spot struct {
		hash          uint32
		group, target uint16
	}
	var counts [len(at)]int
	spots := make([]spot, len(tx.Writes))
	for i := range tx.Writes {
		w := &tx.Writes[i]
		if w.Op == object.OpPunchObject {
			continue
		}
		g := w.OID.Class().Group(w.Dkey)
		pl, id := Place(l, p.Dataset, w.OID, g)
		spots[i] = spot{pl.Hash, g, id}
		if int(id) < len(counts) {
			counts[id]++
		}
	}
	for i := range tx.Writes {
		w := &tx.Writes[i]
		if w.Op == object.OpPunchObject {
			for g := range w.OID.Class().Groups() {
				pl, id := Place(l, p.Dataset, w.OID, uint16(g))
				b := batch(id)
				b.Writes = append(b.Writes, target.Placed{Write: *w, Group: uint16(g), Hash: pl.Hash})
			}
			continue
		}
		if w.Op == object.OpWrite && len(w.Data) == 0 {
			continue
		}
		to := spots[i]
		b := batch(to.target)
		if b.Writes == nil && int(to.target) < len(counts) {
			b.Writes = make([]target.Placed, 0, counts[to.target])
		}
		b.Writes = append(b.Writes, target.Placed{Write: *w, Group: to.group, Hash: to.hash})
	}
	if len(p.Batches) == 0 && !tx.Request.IsZero() {
		// Nothing but an answer to keep: anywhere, but always at the same place.
		batch(l.Target(uint32(object.Hash64(tx.Request[:])), 0))
	}
	// In rising order of target.
	for i := 1; i < len(p.Targets); i++ {
		for j := i; j > 0 && p.Targets[j] < p.Targets[j-1]; j-- {
			p.Targets[j], p.Targets[j-1] = p.Targets[j-1], p.Targets[j]
			p.Batches[j], p.Batches[j-1] = p.Batches[j-1], p.Batches[j]
		}
	}
	if len(p.Batches) == 0 {
		return
	}
	p.Batches[0].Request, p.Batches[0].Answer = tx.Request, tx.Answer
	if len(p.Batches) > 1 {
		for i := range p.Batches {
			p.Batches[i].Participants = p.Targets
		}
	}
}

// Claim lists what the transaction claims, so that the kernel does not have to:
// for a driver that knows of others under way.
func (p *Plan) Claim() { p.claimed() }

// claimed is what the transaction claims, listed when it is first asked for.
// Runs of writes to one akey, the usual form of bulk data, make one claim.
func (p *Plan) claimed() []span {
	if p.claims != nil {
		return p.claims
	}
	tx := p.Tx
	p.claims = make([]span, 0, len(tx.Reads)+len(tx.Conds)+len(tx.Writes))
	for i := range tx.Reads {
		r := &tx.Reads[i]
		s := span{oid: r.OID, mode: reading, wide: !r.Point, from: string(r.From), akey: string(r.Akey), versioned: true}
		if s.wide && r.To != nil {
			s.to, s.bounded = string(r.To), true
		}
		p.claims = append(p.claims, s)
	}
	for i := range tx.Conds {
		c := &tx.Conds[i]
		s := span{oid: c.OID, mode: reading, from: string(c.Dkey)}
		if c.Kind == object.AkeyExists || c.Kind == object.AkeyAbsent {
			s.akey = string(c.Akey)
		}
		p.claims = append(p.claims, s)
	}
	for i := range tx.Writes {
		w := &tx.Writes[i]
		if n := len(p.claims); n > 0 {
			if last := &p.claims[n-1]; last.mode == writing && !last.wide && last.oid == w.OID &&
				w.Op < object.OpPunchDkey && last.from == string(w.Dkey) && last.akey == string(w.Akey) {
				continue
			}
		}
		s := span{oid: w.OID, mode: writing}
		switch w.Op {
		case object.OpPunchObject:
			s.wide = true
		case object.OpPunchDkey:
			s.from = string(w.Dkey)
		default:
			s.from, s.akey = string(w.Dkey), string(w.Akey)
		}
		p.claims = append(p.claims, s)
	}
	return p.claims
}
