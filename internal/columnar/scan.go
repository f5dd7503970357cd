// Package columnar is where Go code outside the server touches Arrow: it turns
// scans into rows, files of tensors (npy, npz, Arrow, Parquet, CSV) into the
// Arrow streams that a tensor dataset takes, and back.
//
// It knows no server; callers hand it streams of payloads. Start with scan.go
// for scans and source.go for tensors.
package columnar

import (
	"errors"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"

	"daos/internal/fault"
)

// Payloads joins the payloads of a stream of messages into one byte stream.
// The slice that recv returns is read before recv is called again.
func Payloads(recv func() ([]byte, error)) io.Reader { return &payloads{recv: recv} }

type payloads struct {
	recv func() ([]byte, error)
	rest []byte
	err  error
}

func (p *payloads) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		p.rest, p.err = p.recv()
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// Entry is one row of a scan. Columns that were not asked for are zero.
type Entry struct {
	Path   string // bytes, also where they are not UTF-8
	Type   string // "file", "directory", "symlink"
	Size   uint64
	Mtime  int64 // nanoseconds since 1970
	Ctime  int64
	Mode   uint32
	UID    uint32
	GID    uint32
	Nlink  uint32
	Inode  uint64
	Depth  uint32
	Target string
	Epoch  uint64
}

// Entries reads a scan and calls fn for each entry until it fails. The entry
// is valid during the call only; its strings are its own.
func Entries(r io.Reader, fn func(*Entry) error) error {
	rd, err := ipc.NewReader(r)
	if err != nil {
		return wrap(err)
	}
	defer rd.Release()
	var cols []func(*Entry, int) error
	for rd.Next() {
		rec := rd.Record()
		if cols, err = columns(rec, cols[:0]); err != nil {
			return err
		}
		for row := range int(rec.NumRows()) {
			var e Entry
			for _, set := range cols {
				if err := set(&e, row); err != nil {
					return err
				}
			}
			if err := fn(&e); err != nil {
				return err
			}
		}
	}
	return wrap(rd.Err())
}

// wrap passes faults, which come from the stream below, and classifies what
// Arrow itself found.
func wrap(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	return fault.New(fault.Internal, "arrow", "", "the answer is not the Arrow stream it should be").Because(err)
}

// columns binds the columns of a batch to the fields of an Entry.
func columns(rec arrow.Record, cols []func(*Entry, int) error) ([]func(*Entry, int) error, error) {
	for i, f := range rec.Schema().Fields() {
		col := rec.Column(i)
		set, ok := bind(f.Name, col)
		if !ok {
			return nil, fault.New(fault.Internal, "arrow", f.Name, "column of type %s in a scan", col.DataType())
		}
		if set != nil {
			cols = append(cols, set)
		}
	}
	return cols, nil
}

func bind(name string, col arrow.Array) (func(*Entry, int) error, bool) {
	if name == "path" || name == "path_bytes" || name == "symlink_target" || name == "type" {
		get, ok := text(col)
		if !ok {
			return nil, false
		}
		return func(e *Entry, i int) error {
			if col.IsNull(i) {
				return nil
			}
			switch name {
			case "path":
				if e.Path == "" {
					e.Path = get(i)
				}
			case "path_bytes": // only where the path is not UTF-8
				e.Path = get(i)
			case "symlink_target":
				e.Target = get(i)
			case "type":
				e.Type = get(i)
			}
			return nil
		}, true
	}
	if name == "name" {
		return nil, true // the path has it
	}
	get, ok := number(col)
	if !ok {
		return nil, false
	}
	return func(e *Entry, i int) error {
		if col.IsNull(i) {
			return nil
		}
		n := get(i)
		switch name {
		case "size":
			e.Size = uint64(n)
		case "mtime":
			e.Mtime = n
		case "ctime":
			e.Ctime = n
		case "mode":
			e.Mode = uint32(n)
		case "uid":
			e.UID = uint32(n)
		case "gid":
			e.GID = uint32(n)
		case "nlink":
			e.Nlink = uint32(n)
		case "inode":
			e.Inode = uint64(n)
		case "depth":
			e.Depth = uint32(n)
		case "epoch":
			e.Epoch = uint64(n)
		}
		return nil
	}, true
}

func text(col arrow.Array) (func(int) string, bool) {
	switch c := col.(type) {
	case *array.String:
		return func(i int) string { return string([]byte(c.Value(i))) }, true
	case *array.LargeString:
		return func(i int) string { return string([]byte(c.Value(i))) }, true
	case *array.Binary:
		return func(i int) string { return string(c.Value(i)) }, true
	case *array.LargeBinary:
		return func(i int) string { return string(c.Value(i)) }, true
	case *array.Dictionary:
		get, ok := text(c.Dictionary())
		return func(i int) string { return get(c.GetValueIndex(i)) }, ok
	case *array.Uint8:
		return func(i int) string { return typeNames[c.Value(i)%4] }, true
	case *array.Int8:
		return func(i int) string { return typeNames[uint8(c.Value(i))%4] }, true
	}
	return nil, false
}

// typeNames are those of daos.posix.v1.FileType.
var typeNames = [4]string{"", "file", "directory", "symlink"}

func number(col arrow.Array) (func(int) int64, bool) {
	switch c := col.(type) {
	case *array.Uint64:
		return func(i int) int64 { return int64(c.Value(i)) }, true
	case *array.Int64:
		return c.Value, true
	case *array.Uint32:
		return func(i int) int64 { return int64(c.Value(i)) }, true
	case *array.Int32:
		return func(i int) int64 { return int64(c.Value(i)) }, true
	case *array.Uint16:
		return func(i int) int64 { return int64(c.Value(i)) }, true
	case *array.Uint8:
		return func(i int) int64 { return int64(c.Value(i)) }, true
	case *array.Timestamp:
		unit := int64(c.DataType().(*arrow.TimestampType).Unit.Multiplier())
		return func(i int) int64 { return int64(c.Value(i)) * unit }, true
	}
	return nil, false
}
