package tensor

import (
	"context"
	"encoding/binary"
	"time"

	"daos/dataset/race"
	"daos/engine/object"
	"daos/internal/fault"
)

// Store is what a table needs of the object store of its dataset.
type Store interface {
	object.Clock
	object.Reader
	object.Lister
	object.Committer
}

// Table is one tensor dataset. It holds no state of its own: any number of
// Tables of one dataset, in any process, agree through the store.
type Table struct {
	st   Store
	name string
	now  func() time.Time
}

// Option changes a Table.
type Option func(*Table)

// WithClock sets the clock that staging leases expire by.
func WithClock(now func() time.Time) Option { return func(t *Table) { t.now = now } }

// Open makes a Table of a dataset's store. The name ("p/t") is for errors. It
// reads nothing yet.
func Open(st Store, name string, opts ...Option) *Table {
	t := &Table{st: st, name: name, now: time.Now}
	for _, o := range opts {
		o(t)
	}
	return t
}

// Info describes a table at an epoch.
type Info struct {
	Columns []Column
	Length  uint64
	Epoch   object.Epoch
}

// ChunkStats summarises one chunk of a column.
type ChunkStats struct {
	First, Count uint64
	Nulls, NaNs  uint64
	Bytes        uint64 // of the values
	// Min and Max are elements in the column's dtype, little-endian, or for
	// bytes and strings bounds of up to 64 bytes. Empty: unknown.
	Min, Max []byte
}

// at resolves epoch 0 to the newest closed epoch.
func (t *Table) at(ctx context.Context, at object.Epoch) (object.Epoch, error) {
	if at != 0 {
		return at, nil
	}
	return t.st.ReadEpoch(ctx, 0)
}

// state is the schema and head of a table at an epoch.
type state struct {
	at   object.Epoch
	cols []Column
	head head
}

func (t *Table) load(ctx context.Context, at object.Epoch) (*state, error) {
	at, err := t.at(ctx, at)
	if err != nil {
		return nil, err
	}
	b, _, err := t.st.Get(ctx, at, tableOID, keySchema, akeyValue)
	if fault.Is(err, fault.NotFound) {
		return nil, fault.New(fault.NotFound, "tensor.load", t.name, "no columns are defined in this tensor dataset").
			Do("define them, or import data into it (`daos tensor import FILE.npz %s`)", t.name)
	}
	if err != nil {
		return nil, fault.Wrap(err, "tensor.load", t.name)
	}
	s := &state{at: at}
	if s.cols, err = decodeSchema(b); err != nil {
		return nil, err
	}
	b, _, err = t.st.Get(ctx, at, tableOID, keyHead, akeyValue)
	if err != nil {
		return nil, fault.Wrap(err, "tensor.load", t.name)
	}
	if s.head, err = decodeHead(b); err != nil {
		return nil, err
	}
	return s, nil
}

// column finds a column by name.
func (t *Table) column(s *state, name string) (int, error) {
	for i := range s.cols {
		if s.cols[i].Name == name {
			return i, nil
		}
	}
	names := ""
	for i := range s.cols {
		if i > 0 {
			names += ", "
		}
		if i == 16 {
			names += "..."
			break
		}
		names += s.cols[i].Name
	}
	return 0, fault.New(fault.NotFound, "tensor.column", t.name, "no column %q", name).Do("it has: %s", names)
}

// Define sets the columns of an empty table. fault.Exists if it has some.
func (t *Table) Define(ctx context.Context, req object.RequestID, cols []Column) (object.Epoch, error) {
	cols = append([]Column(nil), cols...)
	if err := checkColumns(cols); err != nil {
		return 0, err
	}
	res, err := t.st.Commit(ctx, &object.Tx{
		Request: req,
		Conds:   []object.Cond{{Kind: object.AkeyAbsent, OID: tableOID, Dkey: keySchema, Akey: akeyValue}},
		Writes: []object.Write{
			{Op: object.OpPut, OID: tableOID, Dkey: keySchema, Akey: akeyValue, Data: encodeSchema(cols)},
			{Op: object.OpPut, OID: tableOID, Dkey: keyHead, Akey: akeyValue, Data: head{next: 1}.encode()},
		},
	})
	if fault.Is(err, fault.Exists) {
		return 0, fault.New(fault.Exists, "tensor.define", t.name, "its columns are defined already").
			Do("append to it, or make a new dataset")
	}
	return res.Epoch, fault.Wrap(err, "tensor.define", t.name)
}

// Describe tells columns and length at an epoch; 0: the newest.
func (t *Table) Describe(ctx context.Context, at object.Epoch) (Info, error) {
	s, err := t.load(ctx, at)
	if err != nil {
		return Info{}, err
	}
	return Info{Columns: s.cols, Length: s.head.length, Epoch: s.at}, nil
}

// Stats returns the statistics of each chunk of a column, in order.
func (t *Table) Stats(ctx context.Context, at object.Epoch, column string) ([]ChunkStats, error) {
	s, err := t.load(ctx, at)
	if err != nil {
		return nil, err
	}
	i, err := t.column(s, column)
	if err != nil {
		return nil, err
	}
	var out []ChunkStats
	err = t.chunks(ctx, s, i, func(c chunk) error {
		out = append(out, ChunkStats{First: c.first, Count: c.count, Nulls: c.nulls, NaNs: c.nans, Bytes: c.bytes, Min: c.min, Max: c.max})
		return nil
	})
	return out, err
}

// chunks walks the chunk records of a column and checks that they cover it
// without a gap: a record that is missing is an error, never a short answer.
func (t *Table) chunks(ctx context.Context, s *state, col int, fn func(chunk) error) error {
	var next uint64
	var failed error
	err := t.st.List(ctx, s.at, tableOID, object.ListOptions{Prefix: chunkPrefix(col), Akey: akeyValue}, func(it object.Item) bool {
		c, err := decodeChunk(it.Dkey, it.Value)
		if err == nil && c.first != next {
			err = corrupt("column "+s.cols[col].Name, "the chunk records have a gap")
		}
		if err == nil {
			next, c.version = c.end(), it.Epoch
			err = fn(c)
		}
		failed = err
		return err == nil
	})
	if err == nil {
		err = failed
	}
	if err == nil && next != s.head.length {
		err = corrupt("column "+s.cols[col].Name, "the chunk records do not cover the length")
	}
	return fault.Wrap(err, "tensor.chunks", t.name)
}

// chunkAt finds the chunk of a column that holds a sample below the length.
func (t *Table) chunkAt(ctx context.Context, s *state, col int, i uint64) (chunk, error) {
	var c chunk
	found := false
	var failed error
	err := t.st.List(ctx, s.at, tableOID, object.ListOptions{
		Prefix: chunkPrefix(col), To: chunkKey(col, i+1), Akey: akeyValue, Reverse: true, Limit: 1,
	}, func(it object.Item) bool {
		c, failed = decodeChunk(it.Dkey, it.Value)
		found = true
		return false
	})
	if err == nil {
		err = failed
	}
	if err == nil && (!found || i >= c.end()) {
		err = corrupt("column "+s.cols[col].Name, "the chunk record of a sample is missing")
	}
	return c, fault.Wrap(err, "tensor.chunk", t.name)
}

// Answers of Append and Overwrite, kept with their request id.
func encodeAnswer(a, b uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, a), b)
}

func decodeAnswer(b []byte) (uint64, uint64, error) {
	if len(b) != 16 {
		return 0, 0, fault.New(fault.Invalid, "tensor.replay", "request id", "it was used for another call").Do("give each call its own request id")
	}
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), nil
}

func (t *Table) commit(ctx context.Context, op string, tx *object.Tx) (object.Result, error) {
	res, err := t.st.Commit(ctx, tx)
	if fault.Is(err, fault.Conflict) {
		return res, race.Lost(err)
	}
	return res, fault.Wrap(err, op, t.name)
}
