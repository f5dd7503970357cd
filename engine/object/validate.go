package object

import (
	"bytes"
	"fmt"

	"daos/internal/fault"
)

// MaxAnswer is the largest answer kept with a request id.
const MaxAnswer = 64 << 10

// MaxArray is the largest end of a byte array.
const MaxArray = uint64(1) << 62

// Validate checks the shape of tx: operations, keys, ranges and limits. Every
// store calls it first, so that garbage never reaches a target.
func (tx *Tx) Validate() error {
	n := len(tx.Writes) + len(tx.Reads) + len(tx.Conds)
	for i := range tx.Writes {
		if w := &tx.Writes[i]; w.Op == OpPunchObject {
			n += w.OID.Class().Groups() - 1 // one in each redundancy group
		}
	}
	if n > MaxOps {
		return fault.New(fault.TooBig, "tx.validate", "transaction", "%d operations, at most %d are allowed", n, MaxOps).
			Do("split it")
	}
	if len(tx.Answer) > MaxAnswer {
		return fault.New(fault.TooBig, "tx.validate", "transaction", "answer of %d bytes, at most %d are kept", len(tx.Answer), MaxAnswer)
	}
	var total int64
	for i := range tx.Writes {
		if err := tx.Writes[i].validate(); err != nil {
			return err
		}
		total += int64(len(tx.Writes[i].Data))
	}
	if total > MaxTx {
		return fault.New(fault.TooBig, "tx.validate", "transaction", "values of %d bytes, at most %d are allowed", total, MaxTx).
			Do("stage bulk bytes in several deferred transactions")
	}
	for i := range tx.Conds {
		c := &tx.Conds[i]
		switch c.Kind {
		case DkeyExists, DkeyAbsent:
			if err := checkKeys(c.OID, c.Dkey, nil, true, false); err != nil {
				return err
			}
		case AkeyExists, AkeyAbsent:
			if err := checkKeys(c.OID, c.Dkey, c.Akey, true, true); err != nil {
				return err
			}
		default:
			return fault.New(fault.Invalid, "tx.validate", c.OID.String(), "unknown condition %d", c.Kind)
		}
	}
	for i := range tx.Reads {
		r := &tx.Reads[i]
		if err := checkOID(r.OID); err != nil {
			return err
		}
		if len(r.From) > MaxKey || len(r.To) > MaxKey || len(r.Akey) > MaxKey {
			return keyTooBig(r.OID)
		}
		if r.Point && len(r.From) == 0 {
			return fault.New(fault.Invalid, "tx.validate", r.OID.String(), "a point read without a dkey")
		}
		if !r.Point && r.To != nil && bytes.Compare(r.From, r.To) > 0 {
			return fault.New(fault.Invalid, "tx.validate", r.OID.String(), "a range read that ends before it starts")
		}
	}
	return nil
}

func (w *Write) validate() error {
	var dkey, akey bool
	switch w.Op {
	case OpPut:
		dkey, akey = true, true
		if len(w.Data) > MaxSingle {
			return fault.New(fault.TooBig, "tx.validate", w.OID.String(), "single value of %d bytes, at most %d are allowed", len(w.Data), MaxSingle).
				Do("write it as an array")
		}
	case OpWrite:
		dkey, akey = true, true
		if len(w.Data) > MaxExtent {
			return fault.New(fault.TooBig, "tx.validate", w.OID.String(), "extent of %d bytes, at most %d are allowed", len(w.Data), MaxExtent).
				Do("write it in pieces")
		}
		if err := checkRange(w.OID, w.Offset, uint64(len(w.Data))); err != nil {
			return err
		}
	case OpPunchRange:
		dkey, akey = true, true
		if err := checkRange(w.OID, w.Offset, w.Length); err != nil {
			return err
		}
	case OpPunchAkey:
		dkey, akey = true, true
	case OpPunchDkey:
		dkey = true
	case OpPunchObject:
	default:
		return fault.New(fault.Invalid, "tx.validate", w.OID.String(), "unknown operation %d", w.Op)
	}
	return checkKeys(w.OID, w.Dkey, w.Akey, dkey, akey)
}

func checkOID(oid ID) error {
	if c := oid.Class(); c != ClassS1 && c != ClassSX {
		return fault.New(fault.Invalid, "object.class", oid.String(), "object id without a known class (%d)", uint8(c)).
			Do("make ids with object.MakeID and class S1 or SX")
	}
	return nil
}

func checkRange(oid ID, off, n uint64) error {
	if off > MaxArray || n > MaxArray || off+n > MaxArray {
		return fault.New(fault.Invalid, "object.range", oid.String(), "range of %d bytes at %d ends beyond %d", n, off, MaxArray)
	}
	return nil
}

func keyTooBig(oid ID) error {
	return fault.New(fault.TooBig, "object.key", oid.String(), "key longer than %d bytes", MaxKey)
}

func checkKeys(oid ID, dkey, akey []byte, needDkey, needAkey bool) error {
	if err := checkOID(oid); err != nil {
		return err
	}
	if len(dkey) > MaxKey || len(akey) > MaxKey {
		return keyTooBig(oid)
	}
	if needDkey && len(dkey) == 0 || needAkey && len(akey) == 0 {
		return fault.New(fault.Invalid, "object.key", oid.String(), "empty key").Do("dkeys and akeys have 1 to %d bytes", MaxKey)
	}
	return nil
}

// CheckKey checks the address of a read of one (object, dkey, akey).
func CheckKey(oid ID, dkey, akey []byte) error { return checkKeys(oid, dkey, akey, true, true) }

// CheckRange checks a key and a range of a byte array.
func CheckRange(oid ID, dkey, akey []byte, off, n uint64) error {
	if err := CheckKey(oid, dkey, akey); err != nil {
		return err
	}
	return checkRange(oid, off, n)
}

// Check checks the bounds of a listing of oid.
func (o *ListOptions) Check(oid ID) error {
	if err := checkOID(oid); err != nil {
		return err
	}
	if max(len(o.After), len(o.From), len(o.To), len(o.Prefix), len(o.Akey)) > MaxKey {
		return keyTooBig(oid)
	}
	if o.Limit < 0 {
		return fault.New(fault.Invalid, "object.list", oid.String(), "negative limit %d", o.Limit)
	}
	return nil
}

// CheckArrays is Check for a listing of arrays.
func (o *ListOptions) CheckArrays(oid ID) error {
	if o.Reverse {
		return fault.New(fault.Unsupported, "object.list", oid.String(), "arrays are listed in rising order only")
	}
	return o.Check(oid)
}

// Bounds are the dkeys that o covers, whatever its direction: from lo
// (inclusive) to hi (exclusive, nil: no bound). To go on with a reverse
// listing, set To to the last dkey seen.
func (o *ListOptions) Bounds() (lo, hi []byte) {
	lo, hi = o.From, o.To
	if o.After != nil {
		lo = append(append(make([]byte, 0, len(o.After)+1), o.After...), 0)
	}
	if len(o.Prefix) > 0 {
		if bytes.Compare(o.Prefix, lo) > 0 {
			lo = o.Prefix
		}
		if end := PrefixEnd(o.Prefix); end != nil && (hi == nil || bytes.Compare(end, hi) < 0) {
			hi = end
		}
	}
	return lo, hi
}

// PrefixEnd is the first key after all keys with prefix p, nil if there is none.
func PrefixEnd(p []byte) []byte {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xff {
			end := append([]byte(nil), p[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}

// KeyName renders an address for errors.
func KeyName(oid ID, dkey, akey []byte) string {
	return fmt.Sprintf("%s/%q/%q", oid, dkey, akey)
}
