package tensor

import (
	"context"
	"time"

	"daos/dataset/race"
	"daos/engine/object"
	"daos/internal/fault"
)

const (
	// leaseBlock is how many chunk numbers one lease takes, fewer where there
	// are very many columns: one transaction must be able to punch them all.
	leaseBlock = 256
	leaseMax   = leaseBlock
	// leaseTime is how long an append may go without staging anything.
	leaseTime = time.Hour
	// stageTx is how many bytes go into one deferred transaction.
	stageTx = 16 << 20
)

// staging is the chunks that a large change has written under leased numbers.
// Nothing refers to them until publish.
type staging struct {
	t       *Table
	columns int
	leases  []lease
	used    uint64 // numbers used of the last lease
	chunks  []staged
	writes  []object.Write // of the deferred transaction being filled
	bytes   int
}

type staged struct {
	column int
	chunk  // first is relative to the start of the append
}

// number takes the next leased chunk number.
func (g *staging) number(ctx context.Context) (uint64, error) {
	if n := len(g.leases); n > 0 {
		l := &g.leases[n-1]
		if l.from+g.used < l.to {
			g.used++
			return l.from + g.used - 1, nil
		}
	}
	err := race.Retry(ctx, func() error {
		s, err := g.t.load(ctx, 0)
		if err != nil {
			return err
		}
		l := lease{from: s.head.next, to: s.head.next + uint64(max(min(leaseBlock, object.MaxOps/2/g.columns), 1)), expiry: g.t.now().Add(leaseTime).UnixMicro()}
		b := &change{t: g.t, s: s, tx: object.Tx{ReadAt: s.at}}
		b.reads(keyHead)
		b.put(leaseKey(l.from), l.encode())
		b.put(keyHead, head{length: s.head.length, next: l.to}.encode())
		if _, err := g.t.commit(ctx, "tensor.lease", &b.tx); err != nil {
			return err
		}
		g.leases, g.used = append(g.leases, l), 0
		return nil
	})
	if err != nil {
		return 0, err
	}
	return g.number(ctx)
}

// add stages one chunk of n rows.
func (g *staging) add(ctx context.Context, col int, c *Column, first uint64, d *Data, n int) error {
	num, err := g.number(ctx)
	if err != nil {
		return err
	}
	g.chunks = append(g.chunks, staged{col, chunk{first: first, number: num, stats: statsOf(c, d, n)}})
	return g.write(ctx, rowWrites(nil, col, c, num, 0, 0, d, n))
}

func (g *staging) write(ctx context.Context, ws []object.Write) error {
	for _, w := range ws {
		if g.bytes > 0 && g.bytes+len(w.Data) > stageTx {
			if err := g.flush(ctx); err != nil {
				return err
			}
		}
		g.writes = append(g.writes, w)
		g.bytes += len(w.Data)
	}
	return nil
}

// flush commits what has been added, deferred, and renews the leases when half
// of their time is gone.
func (g *staging) flush(ctx context.Context) error {
	if len(g.writes) > 0 {
		if _, err := g.t.commit(ctx, "tensor.stage", &object.Tx{Writes: g.writes, Deferred: true}); err != nil {
			return err
		}
		g.writes, g.bytes = nil, 0
	}
	return g.renew(ctx)
}

func (g *staging) renew(ctx context.Context) error {
	now := g.t.now()
	if len(g.leases) == 0 || now.Add(leaseTime/2).UnixMicro() < g.leases[0].expiry {
		return nil
	}
	tx := &object.Tx{}
	for i := range g.leases {
		l := &g.leases[i]
		l.expiry = now.Add(leaseTime).UnixMicro()
		key := leaseKey(l.from)
		tx.Conds = append(tx.Conds, object.Cond{Kind: object.AkeyExists, OID: tableOID, Dkey: key, Akey: akeyValue})
		tx.Writes = append(tx.Writes, object.Write{Op: object.OpPut, OID: tableOID, Dkey: key, Akey: akeyValue, Data: l.encode()})
	}
	_, err := g.t.commit(ctx, "tensor.lease", tx)
	return g.expired(err)
}

func (g *staging) expired(err error) error {
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.Timeout, "tensor.append", g.t.name, "the staged data of this append was collected, because nothing came for %s", leaseTime).
			Do("append again")
	}
	return err
}

// publish adds to the last transaction the records of all staged chunks, at
// the length of now, and ends the leases. The transaction is a barrier.
func (g *staging) publish(b *change, start uint64) {
	b.tx.Barrier = true
	for i := range g.leases {
		key := leaseKey(g.leases[i].from)
		b.tx.Conds = append(b.tx.Conds, object.Cond{Kind: object.AkeyExists, OID: tableOID, Dkey: key, Akey: akeyValue})
		b.tx.Writes = append(b.tx.Writes, object.Write{Op: object.OpPunchDkey, OID: tableOID, Dkey: key})
	}
	for i := range g.chunks {
		c := g.chunks[i].chunk
		c.first += start
		b.put(chunkKey(g.chunks[i].column, c.first), c.encode())
	}
}

// abandon removes what was staged; a failure is left to Collect.
func (g *staging) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for _, l := range g.leases {
		if err := g.t.collect(ctx, l, g.columns); err != nil {
			return
		}
	}
}

// Collect removes staged chunks of appends whose lease has expired, and
// returns how many leases it ended.
func (t *Table) Collect(ctx context.Context) (int, error) {
	s, err := t.load(ctx, 0)
	if err != nil {
		return 0, err
	}
	var dead []lease
	var failed error
	err = t.st.List(ctx, s.at, tableOID, object.ListOptions{Prefix: []byte(prefixLease), Akey: akeyValue}, func(it object.Item) bool {
		var l lease
		if l, failed = decodeLease(it.Value); failed == nil && l.expiry < t.now().UnixMicro() {
			dead = append(dead, l)
		}
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return 0, fault.Wrap(err, "tensor.collect", t.name)
	}
	for i, l := range dead {
		if err := t.collect(ctx, l, len(s.cols)); err != nil {
			return i, err
		}
	}
	return len(dead), nil
}

// collect punches all chunks that lease l may have staged, and the lease. As
// the last transaction of a change punches its leases too, and demands that
// they exist, only one of the two can happen. It is one transaction for the
// same reason.
func (t *Table) collect(ctx context.Context, l lease, columns int) error {
	return race.Retry(ctx, func() error {
		at, err := t.st.ReadEpoch(ctx, 0)
		if err != nil {
			return err
		}
		cur, _, err := t.st.Get(ctx, at, tableOID, leaseKey(l.from), akeyValue)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		now, err := decodeLease(cur)
		if err != nil {
			return err
		}
		if now.expiry != l.expiry {
			return nil // renewed meanwhile
		}
		b := &change{t: t, tx: object.Tx{ReadAt: at}}
		b.reads(leaseKey(l.from))
		for col := 0; col < columns; col++ {
			for n := l.from; n < l.to; n++ {
				b.tx.Writes = append(b.tx.Writes, object.Write{Op: object.OpPunchDkey, OID: columnOID(col), Dkey: numberKey(n)})
			}
		}
		b.tx.Writes = append(b.tx.Writes, object.Write{Op: object.OpPunchDkey, OID: tableOID, Dkey: leaseKey(l.from)})
		_, err = t.commit(ctx, "tensor.collect", &b.tx)
		return err
	})
}
