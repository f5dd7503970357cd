package array

import (
	"context"
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"daos/dataset/race"
	"daos/engine/object"
	"daos/internal/fault"
)

const (
	// MaxKey is the most bytes of a key.
	MaxKey = 1024
	// MaxValue is the most bytes of the value of a key: one transaction writes it.
	MaxValue = 192 << 20
	// inlineValue is up to what a value lies in the record of its key.
	inlineValue = 512
	valueExtent = 16 << 20
)

// keyRecord is the record of a key: the size of its value, and the value where it
// is short.
type keyRecord struct {
	size   uint64
	inline []byte // of size bytes; nil: the value lies in the values object
}

func (r *keyRecord) encode() []byte {
	b := []byte{recordVersion, 0}
	if r.inline != nil {
		b[1] = 1
	}
	b = binary.LittleEndian.AppendUint64(b, r.size)
	return append(b, r.inline...)
}

func decodeKeyRecord(key string, b []byte) (keyRecord, error) {
	if len(b) < 10 || b[0] != recordVersion || b[1] > 1 {
		return keyRecord{}, corrupt(key, "the record of a key is not readable")
	}
	r := keyRecord{size: binary.LittleEndian.Uint64(b[2:])}
	if b[1] == 1 {
		r.inline = append([]byte{}, b[10:]...)
	}
	if r.size > MaxValue || b[1] == 1 && r.size != uint64(len(r.inline)) || b[1] == 0 && len(b) != 10 {
		return keyRecord{}, corrupt(key, "the record of a key has impossible values")
	}
	return r, nil
}

func recordKey(key string) []byte { return append([]byte("k"), key...) }

func (d *Dataset) checkKey(key string) error {
	if key == "" || len(key) > MaxKey || !utf8.ValidString(key) || strings.ContainsRune(key, 0) {
		return fault.New(fault.Invalid, "array.key", d.name, "a key has 1 to %d bytes of UTF-8 without NUL", MaxKey)
	}
	return nil
}

func (d *Dataset) keyRecord(ctx context.Context, at object.Epoch, key string) (r keyRecord, found bool, err error) {
	b, _, err := d.st.Get(ctx, at, keysOID, recordKey(key), akeyValue)
	if fault.Is(err, fault.NotFound) {
		return keyRecord{}, false, nil
	}
	if err != nil {
		return keyRecord{}, false, fault.Wrap(err, "array.key", d.where(key))
	}
	r, err = decodeKeyRecord(key, b)
	return r, true, err
}

// PutKey writes the value of a key. With ifAbsent a key that is there keeps its
// value, and present says so.
func (d *Dataset) PutKey(ctx context.Context, key string, value []byte, req object.RequestID, ifAbsent bool) (present bool, done Done, err error) {
	if err := d.checkKey(key); err != nil {
		return false, Done{}, err
	}
	if len(value) > MaxValue {
		return false, Done{}, fault.New(fault.TooBig, "array.key", d.where(key), "a value of %d bytes, at most %d are allowed", len(value), MaxValue).Do("use smaller chunks or shards")
	}
	r := keyRecord{size: uint64(len(value))}
	if len(value) <= inlineValue {
		r.inline = append([]byte{}, value...)
	}
	k := newCall(opPutKey, req, []byte(key), value)
	done, _, err = d.once(ctx, k, 0, func(done *Done) error {
		c, err := d.change(ctx, req, k.answer())
		if err != nil {
			return err
		}
		old, found, err := d.keyRecord(ctx, c.tx.ReadAt, key)
		if err != nil {
			return err
		}
		if found && ifAbsent {
			present, done.Epoch = true, c.tx.ReadAt
			return errNothing
		}
		present = false
		c.reads(keysOID, recordKey(key), akeyValue)
		c.put(keysOID, recordKey(key), akeyValue, r.encode())
		if found && old.inline == nil && (r.inline != nil || r.size < old.size) {
			c.tx.Writes = append(c.tx.Writes, object.Write{Op: object.OpPunchDkey, OID: valuesOID, Dkey: recordKey(key)})
		}
		if r.inline == nil {
			for off := 0; off < len(value); off += valueExtent {
				c.tx.Writes = append(c.tx.Writes, object.Write{
					Op: object.OpWrite, OID: valuesOID, Dkey: recordKey(key), Akey: akeyData, Offset: uint64(off), Data: value[off:min(off+valueExtent, len(value))],
				})
			}
		}
		done.Epoch, err = d.commit(ctx, "array.key", "", c)
		return err
	})
	return present && !done.Replayed, done, err
}

// KeyRange selects bytes of a value: Length (0: all) from Offset on, or the last
// Suffix.
type KeyRange struct {
	Offset, Length, Suffix uint64
}

// bytes is the range of a value of a size, cut to it.
func (r KeyRange) bytes(size uint64) (from, to uint64) {
	if r.Suffix > 0 {
		return size - min(r.Suffix, size), size
	}
	from, to = min(r.Offset, size), size
	if r.Length > 0 && r.Length < to-from {
		to = from + r.Length
	}
	return from, to
}

// GetKey reads the value of a key, or of it the bytes that alloc is asked for a
// buffer of. It returns the size of the whole value. fault.NotFound if there is
// no such key. A nil alloc: only the size.
func (d *Dataset) GetKey(ctx context.Context, at object.Epoch, key string, rng KeyRange, alloc func(n uint64) ([]byte, error)) (size uint64, data []byte, err error) {
	if err := d.checkKey(key); err != nil {
		return 0, nil, err
	}
	if at, err = d.at(ctx, at); err != nil {
		return 0, nil, err
	}
	r, found, err := d.keyRecord(ctx, at, key)
	if err != nil {
		return 0, nil, err
	}
	if !found {
		return 0, nil, fault.New(fault.NotFound, "array.key", d.where(key), "there is no such key")
	}
	if alloc == nil {
		return r.size, nil, nil
	}
	from, to := rng.bytes(r.size)
	if data, err = alloc(to - from); err != nil {
		return 0, nil, err
	}
	if r.inline != nil {
		copy(data, r.inline[from:to])
		return r.size, data, nil
	}
	if to > from {
		err = d.st.ReadArray(ctx, at, valuesOID, recordKey(key), akeyData, from, data)
	}
	return r.size, data, fault.Wrap(err, "array.key", d.where(key))
}

// DeleteKey removes a key; removed says whether it was there.
func (d *Dataset) DeleteKey(ctx context.Context, key string, req object.RequestID) (removed bool, done Done, err error) {
	if err := d.checkKey(key); err != nil {
		return false, Done{}, err
	}
	k := newCall(opDeleteKey, req, []byte(key))
	done, _, err = d.once(ctx, k, 0, func(done *Done) error {
		c, err := d.change(ctx, req, k.answer())
		if err != nil {
			return err
		}
		old, found, err := d.keyRecord(ctx, c.tx.ReadAt, key)
		if err != nil {
			return err
		}
		if removed = found; !found {
			done.Epoch = c.tx.ReadAt
			return errNothing
		}
		c.reads(keysOID, recordKey(key), akeyValue)
		c.removeKey(key, &old)
		done.Epoch, err = d.commit(ctx, "array.key", "", c)
		return err
	})
	return removed || done.Replayed, done, err
}

func (c *change) removeKey(key string, old *keyRecord) {
	c.tx.Writes = append(c.tx.Writes, object.Write{Op: object.OpPunchDkey, OID: keysOID, Dkey: recordKey(key)})
	if old.inline == nil {
		c.tx.Writes = append(c.tx.Writes, object.Write{Op: object.OpPunchDkey, OID: valuesOID, Dkey: recordKey(key)})
	}
}

// deleteStep is how many keys one transaction removes.
const deleteStep = 4096

// DeletePrefix removes all keys with a prefix, in steps.
func (d *Dataset) DeletePrefix(ctx context.Context, prefix string) (removed uint64, done Done, err error) {
	for more := true; more; {
		err := race.Retry(ctx, func() error {
			c, err := d.change(ctx, object.RequestID{}, nil)
			if err != nil {
				return err
			}
			done.Epoch = max(done.Epoch, c.tx.ReadAt)
			n := 0
			var failed error
			more = false
			err = d.st.List(ctx, c.tx.ReadAt, keysOID, object.ListOptions{Prefix: recordKey(prefix), Akey: akeyValue}, func(it object.Item) bool {
				if more = n == deleteStep; more {
					return false
				}
				key := string(it.Dkey[1:])
				var old keyRecord
				if old, failed = decodeKeyRecord(key, it.Value); failed != nil {
					return false
				}
				c.reads(keysOID, recordKey(key), akeyValue)
				c.removeKey(key, &old)
				n++
				return true
			})
			if err == nil {
				err = failed
			}
			if err != nil || n == 0 {
				return fault.Wrap(err, "array.key", d.name)
			}
			e, err := d.commit(ctx, "array.key", "", c)
			if err == nil {
				done.Epoch = e
				removed += uint64(n)
			}
			return err
		})
		if err != nil {
			return removed, done, err
		}
	}
	return removed, done, nil
}

// KeyEntry is one key of a listing, or a name of a directory of keys.
type KeyEntry struct {
	Name string
	Size uint64
}

// ListKeys calls fn for the keys with a prefix, in byte order, after a key, until
// it returns false.
func (d *Dataset) ListKeys(ctx context.Context, at object.Epoch, prefix, after string, fn func(KeyEntry) bool) error {
	o := object.ListOptions{Prefix: recordKey(prefix), Akey: akeyValue}
	if after != "" {
		o.After = recordKey(after)
	}
	return d.listKeys(ctx, at, o, fn)
}

func (d *Dataset) listKeys(ctx context.Context, at object.Epoch, o object.ListOptions, fn func(KeyEntry) bool) error {
	var failed error
	err := d.st.List(ctx, at, keysOID, o, func(it object.Item) bool {
		key := string(it.Dkey[1:])
		r, err := decodeKeyRecord(key, it.Value)
		if err != nil {
			failed = err
			return false
		}
		return fn(KeyEntry{key, r.size})
	})
	if err == nil {
		err = failed
	}
	return fault.Wrap(err, "array.keys", d.name)
}

// ListNames calls fn for what follows a prefix up to the next '/', each name once,
// after a name, until it returns false. Names come in the order of the first key
// that has them.
func (d *Dataset) ListNames(ctx context.Context, at object.Epoch, prefix, after string, fn func(KeyEntry) bool) error {
	o := object.ListOptions{Prefix: recordKey(prefix), Akey: akeyValue, Limit: 1}
	isKey := func(name string) (bool, error) {
		if prefix+name == "" {
			return false, nil
		}
		_, found, err := d.keyRecord(ctx, at, prefix+name)
		return found, err
	}
	if after != "" {
		there, err := isKey(after)
		if err != nil {
			return err
		}
		if o.From = recordKey(prefix + after + "0"); there { // '/' + 1: after all below the name
			o.From = append(recordKey(prefix+after), 0)
		}
	}
	for {
		var got *KeyEntry
		err := d.listKeys(ctx, at, o, func(e KeyEntry) bool { got = &e; return false })
		if err != nil || got == nil {
			return err
		}
		rest := got.Name[len(prefix):]
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			o.From = append(recordKey(got.Name), 0)
			if rest != "" && !fn(KeyEntry{rest, got.Size}) {
				return nil
			}
			continue
		}
		o.From = recordKey(prefix + rest[:i] + "0")
		there, err := isKey(rest[:i])
		if err != nil {
			return err
		}
		if !there && i > 0 && !fn(KeyEntry{rest[:i], 0}) {
			return nil
		}
	}
}
