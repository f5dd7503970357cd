//go:build cgo

package duck

/*
#include <stdlib.h>

// DuckDB's handles are pointers; its header is not needed for that.
void daosBind(void *info);
void daosInit(void *info);
void daosScan(void *info, void *chunk);
void daosDrop(void *handle);
*/
import "C"

import (
	"errors"
	"fmt"
	"io"
	"runtime/cgo"
	"runtime/debug"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	duckdb "github.com/duckdb/duckdb-go-bindings"

	"daos/query/exec"
	"daos/query/expr"
	"daos/query/sql"
)

// Table is what a handle stands for.
type Table interface {
	Schema() expr.Schema
	// Rows is the number of rows, roughly; false: not known.
	Rows() (n uint64, known bool)
	// Open begins to read columns, by place in the schema. It may be opened
	// several times.
	Open(columns []int) (Reader, error)
}

// Reader is rows; one goroutine uses it.
type Reader interface {
	// Next is the next rows, io.EOF after the last.
	Next() (*exec.Rows, error)
	Close()
}

// newHandle puts a Go value where C can keep it; daosDrop ends it.
func newHandle(v any) unsafe.Pointer {
	p := C.malloc(C.size_t(unsafe.Sizeof(cgo.Handle(0))))
	*(*cgo.Handle)(p) = cgo.NewHandle(v)
	return p
}

func valueOf[T any](p unsafe.Pointer) T { return (*cgo.Handle)(p).Value().(T) }

//export daosDrop
func daosDrop(p unsafe.Pointer) {
	h := *(*cgo.Handle)(p)
	if s, ok := h.Value().(*scanning); ok {
		s.close()
	}
	h.Delete()
	C.free(p)
}

// register offers the tables of a database as rows of sql.ScanFunction.
func (d *DB) register() error {
	f := duckdb.CreateTableFunction()
	defer duckdb.DestroyTableFunction(&f)
	duckdb.TableFunctionSetName(f, sql.ScanFunction)
	text := duckdb.CreateLogicalType(duckdb.TypeVarchar)
	defer duckdb.DestroyLogicalType(&text)
	duckdb.TableFunctionAddParameter(f, text)
	drop := C.daosDrop
	duckdb.TableFunctionSetExtraInfo(f, newHandle(d), drop)
	duckdb.TableFunctionSetBind(f, C.daosBind)
	duckdb.TableFunctionSetInit(f, C.daosInit)
	duckdb.TableFunctionSetFunction(f, C.daosScan)
	duckdb.TableFunctionSupportsProjectionPushdown(f, true)
	if duckdb.RegisterTableFunction(d.conn, f) != duckdb.StateSuccess {
		return internal("the table function can't be registered")
	}
	return nil
}

// failing turns a panic of a callback into an error of the statement: it must
// not unwind through C.
func failing(set func(string)) {
	if r := recover(); r != nil {
		set(fmt.Sprintf("internal error: %v\n%s", r, debug.Stack()))
	}
}

// bound is a table of a statement.
type bound struct {
	db     *DB
	table  Table
	fields expr.Schema
	n      int // columns
}

// columns tells the columns of a table and their types.
func (b *bound) columns(add func(name string, lt duckdb.LogicalType)) error {
	if t, ok := b.table.(ArrowTable); ok {
		for _, f := range t.ArrowSchema().Fields() {
			lt, err := arrowType(f.Name, f.Type, 0)
			if err != nil {
				return err
			}
			add(f.Name, lt)
			duckdb.DestroyLogicalType(&lt)
			b.n++
		}
		return nil
	}
	b.fields = b.table.Schema()
	for i := range b.fields {
		lt, err := logicalType(&b.fields[i])
		if err != nil {
			return err
		}
		add(b.fields[i].Name, lt)
		duckdb.DestroyLogicalType(&lt)
	}
	b.n = len(b.fields)
	return nil
}

//export daosBind
func daosBind(raw unsafe.Pointer) {
	info := duckdb.BindInfo{Ptr: raw}
	fail := func(s string) { duckdb.BindSetError(info, s) }
	defer failing(fail)
	db := valueOf[*DB](duckdb.BindGetExtraInfo(info))
	v := duckdb.BindGetParameter(info, 0)
	handle := duckdb.GetVarchar(v)
	duckdb.DestroyValue(&v)
	t := db.tables[handle]
	if t == nil {
		fail("no dataset with the handle " + handle)
		return
	}
	b := &bound{db: db, table: t}
	if err := b.columns(func(name string, lt duckdb.LogicalType) { duckdb.BindAddResultColumn(info, name, lt) }); err != nil {
		db.failed(err)
		fail(err.Error())
		return
	}
	if n, known := t.Rows(); known {
		duckdb.BindSetCardinality(info, duckdb.IdxT(n), false)
	}
	duckdb.BindSetBindData(info, newHandle(b), C.daosDrop)
}

// scanning is one scan of a table.
type scanning struct {
	*bound
	columns []int
	reader  Reader
	rows    *exec.Rows
	at      int

	batches ArrowReader // of an ArrowTable
	batch   arrow.Record
}

func (s *scanning) close() {
	if s.reader != nil {
		s.reader.Close()
	}
	if s.batch != nil {
		s.batch.Release()
	}
	if s.batches != nil {
		s.batches.Close()
	}
}

// wanted are the columns that are asked for. DuckDB asks for none where it only
// counts, or for the row id, which is not used.
func (s *scanning) wanted() []int {
	columns := make([]int, 0, len(s.columns))
	for _, c := range s.columns {
		if c < s.n {
			columns = append(columns, c)
		}
	}
	return columns
}

// fillArrow is fill for an ArrowTable.
func (s *scanning) fillArrow(t ArrowTable, chunk duckdb.DataChunk) (int, error) {
	if s.batches == nil {
		r, err := t.OpenArrow(s.wanted())
		if err != nil {
			return 0, err
		}
		s.batches = r
	}
	for s.batch == nil || int64(s.at) == s.batch.NumRows() {
		if s.batch != nil {
			s.batch.Release()
			s.batch = nil
		}
		rec, err := s.batches.Next()
		if errors.Is(err, io.EOF) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		s.batch, s.at = rec, 0
	}
	n := min(int(s.batch.NumRows())-s.at, int(duckdb.VectorSize()))
	k := 0
	for i, c := range s.columns {
		if c >= s.n {
			continue
		}
		if err := putArrow(s.batch.ColumnName(k), duckdb.DataChunkGetVector(chunk, duckdb.IdxT(i)), s.batch.Column(k), s.at, n); err != nil {
			return 0, err
		}
		k++
	}
	s.at += n
	return n, nil
}

//export daosInit
func daosInit(raw unsafe.Pointer) {
	info := duckdb.InitInfo{Ptr: raw}
	defer failing(func(s string) { duckdb.InitSetError(info, s) })
	s := &scanning{bound: valueOf[*bound](duckdb.InitGetBindData(info))}
	for i := range duckdb.InitGetColumnCount(info) {
		s.columns = append(s.columns, int(duckdb.InitGetColumnIndex(info, i)))
	}
	duckdb.InitSetMaxThreads(info, 1) // the targets evaluate side by side; here rows keep their order
	duckdb.InitSetInitData(info, newHandle(s), C.daosDrop)
}

//export daosScan
func daosScan(raw, out unsafe.Pointer) {
	info := duckdb.FunctionInfo{Ptr: raw}
	chunk := duckdb.DataChunk{Ptr: out}
	s := valueOf[*scanning](duckdb.FunctionGetInitData(info))
	fail := func(text string) { duckdb.FunctionSetError(info, text) }
	defer failing(fail)
	n, err := s.fill(chunk)
	if err != nil {
		s.db.failed(err)
		fail(err.Error())
		return
	}
	duckdb.DataChunkSetSize(chunk, duckdb.IdxT(n))
}

// fill puts the next rows into a chunk and returns their number, 0 at the end.
func (s *scanning) fill(chunk duckdb.DataChunk) (int, error) {
	if t, ok := s.table.(ArrowTable); ok {
		return s.fillArrow(t, chunk)
	}
	if s.reader == nil {
		r, err := s.table.Open(s.wanted())
		if err != nil {
			return 0, err
		}
		s.reader = r
	}
	for s.rows == nil || s.at == s.rows.N {
		rows, err := s.reader.Next()
		if errors.Is(err, io.EOF) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		s.rows, s.at = rows, 0
	}
	n := min(s.rows.N-s.at, int(duckdb.VectorSize()))
	k := 0
	for i, c := range s.columns {
		if c >= len(s.fields) {
			continue // the row id, which is not used
		}
		put(duckdb.DataChunkGetVector(chunk, duckdb.IdxT(i)), &s.fields[c], &s.rows.Columns[k], s.at, n)
		k++
	}
	s.at += n
	return n, nil
}
