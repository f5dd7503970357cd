// Package view keeps the list of samples of a view in the dataset's own store:
// it counts towards the dataset's quota, is checksummed like all that lies
// there, and goes with the dataset. docs/format/view.md has the layout.
//
// A list is written before anybody can know of it, never changed, and removed
// after it is forgotten; which lists are in use is the caller's knowledge. What
// a view is called, and which query it came from, is not here (server/pool).
//
// Start at Writer and Read.
package view

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"

	"daos/engine/object"
	"daos/internal/fault"
)

// Store is what lists need of the object store of their dataset.
type Store interface {
	object.Clock
	object.Reader
	object.Lister
	object.Committer
}

// Of the format.
const (
	use    = 0xf0    // of the object that all lists of a dataset lie in
	pieces = 1 << 19 // samples under one dkey: 4 MiB
	number = 8       // bytes of a sample's number
)

var (
	oid  = object.MakeID(object.ClassSX, use, 1)
	akey = []byte("samples")
)

// dkey names a piece of a list.
func dkey(list uint64, piece uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(make([]byte, 0, 12), list), piece)
}

// Writer writes one list. The bytes of a piece are kept until it is whole.
type Writer struct {
	st   Store
	list uint64
	buf  []byte
	next uint32
	n    uint64
	sum  hash.Hash
}

// NewWriter begins a list. Its number is one that no list of the dataset has.
func NewWriter(st Store, list uint64) *Writer {
	return &Writer{st: st, list: list, sum: sha256.New()}
}

// Add appends samples.
func (w *Writer) Add(ctx context.Context, samples []uint64) error {
	for len(samples) > 0 {
		n := min(len(samples), pieces-len(w.buf)/number)
		for _, i := range samples[:n] {
			w.buf = binary.LittleEndian.AppendUint64(w.buf, i)
		}
		w.n += uint64(n)
		if samples = samples[n:]; len(w.buf) == pieces*number {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *Writer) flush(ctx context.Context) error {
	if len(w.buf) == 0 {
		return nil
	}
	w.sum.Write(w.buf)
	tx := object.Tx{Writes: []object.Write{{Op: object.OpWrite, OID: oid, Dkey: dkey(w.list, w.next), Akey: akey, Data: w.buf}}}
	if w.next == 0 {
		tx.Conds = []object.Cond{{Kind: object.DkeyAbsent, OID: oid, Dkey: dkey(w.list, 0)}}
	}
	if _, err := w.st.Commit(ctx, &tx); err != nil {
		return fault.Wrap(err, "view.write", "list")
	}
	w.next++
	w.buf = w.buf[:0]
	return nil
}

// Finish writes what is left. The list is on disk then. digest is the SHA-256 of
// the numbers, 8 bytes each, little-endian, in hex.
func (w *Writer) Finish(ctx context.Context) (samples uint64, digest string, err error) {
	if err := w.flush(ctx); err != nil {
		return 0, "", err
	}
	return w.n, hex.EncodeToString(w.sum.Sum(nil)), nil
}

// Read calls fn with the samples of a list, in pieces. fault.Corrupt if they are
// not those that were written: fn has seen wrong ones then.
func Read(ctx context.Context, st Store, list, samples uint64, digest string, fn func(samples []uint64) error) error {
	at, err := st.ReadEpoch(ctx, 0)
	if err != nil {
		return err
	}
	sum := sha256.New()
	buf := make([]byte, min(samples, pieces)*number)
	out := make([]uint64, min(samples, pieces))
	for piece := uint32(0); samples > 0; piece++ {
		n := min(samples, pieces)
		b := buf[:n*number]
		end, err := st.ArrayEnd(ctx, at, oid, dkey(list, piece), akey)
		if err == nil && end != uint64(len(b)) {
			return damaged("%d bytes of a piece of %d", end, len(b))
		}
		if err == nil {
			err = st.ReadArray(ctx, at, oid, dkey(list, piece), akey, 0, b)
		}
		if err != nil {
			return fault.Wrap(err, "view.read", "list")
		}
		sum.Write(b)
		for k := range out[:n] {
			out[k] = binary.LittleEndian.Uint64(b[number*k:])
		}
		if err := fn(out[:n]); err != nil {
			return err
		}
		samples -= n
	}
	if hex.EncodeToString(sum.Sum(nil)) != digest {
		return damaged("another digest")
	}
	return nil
}

func damaged(format string, args ...any) error {
	return fault.New(fault.Corrupt, "view.read", "list", "the list of the view's samples is damaged: "+format, args...).
		Do("make the view anew: refresh it, or save it with replace")
}

// removeBatch is how many pieces one transaction removes.
const removeBatch = 1024

// Remove removes a list; one that is not there is no error.
func Remove(ctx context.Context, st Store, list uint64) error {
	at, err := st.ReadEpoch(ctx, 0)
	if err != nil {
		return err
	}
	for {
		var tx object.Tx
		o := object.ListOptions{From: dkey(list, 0), Akey: akey, Limit: removeBatch}
		if list < 1<<64-1 {
			o.To = dkey(list+1, 0)
		}
		err := st.ListArrays(ctx, at, oid, o, func(dkey, _ []byte) bool {
			tx.Writes = append(tx.Writes, object.Write{Op: object.OpPunchDkey, OID: oid, Dkey: append([]byte(nil), dkey...)})
			return true
		})
		if err != nil || len(tx.Writes) == 0 {
			return fault.Wrap(err, "view.remove", "list")
		}
		res, err := st.Commit(ctx, &tx)
		if err != nil {
			return fault.Wrap(err, "view.remove", "list")
		}
		if len(tx.Writes) < removeBatch {
			return nil
		}
		if at, err = st.ReadEpoch(ctx, res.Epoch); err != nil {
			return err
		}
	}
}

// Lists are the numbers of the lists that lie in a store, ascending.
func Lists(ctx context.Context, st Store) ([]uint64, error) {
	at, err := st.ReadEpoch(ctx, 0)
	if err != nil {
		return nil, err
	}
	var out []uint64
	var after []byte
	for {
		n := 0
		err := st.ListArrays(ctx, at, oid, object.ListOptions{After: after, Akey: akey, Limit: 1}, func(dkey, _ []byte) bool {
			n++
			if len(dkey) == 12 {
				out = append(out, binary.BigEndian.Uint64(dkey))
			}
			return true
		})
		if err != nil || n == 0 {
			return out, fault.Wrap(err, "view.lists", "list")
		}
		if len(out) == 0 || out[len(out)-1] == 1<<64-1 {
			return out, nil
		}
		after = dkey(out[len(out)-1], 1<<32-1) // past its other pieces
	}
}
