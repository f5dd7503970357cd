//go:build cgo

package sqlworker

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sort"
	"strings"
	"sync/atomic"

	"daos/internal/address"
	"daos/internal/columnar"
	"daos/internal/fault"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	posixv1 "daos/proto/gen/daos/posix/v1"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/expr"
	"daos/query/glob"
	"daos/query/sql"
	"daos/query/sql/duck"
	"daos/server/wire"
)

const (
	// maxFiles is the most Parquet files of one table.
	maxFiles = 10_000
	// readPiece is what one call reads of a file.
	readPiece = 4 << 20
)

// parquet is Parquet files in POSIX datasets that make one table. They are read
// in here, by ranges over the server's socket: DuckDB's own reader would need a
// file system, and a file that harms the decoder harms this process alone.
type parquet struct {
	files  []*parquetFile
	schema *columnar.Schema // of the first one
	shown  *columnar.Schema // the same, with names that SQL tells apart
	fields expr.Schema      // of those of its columns that conditions can compare
	places []int            // of fields in the schema
}

// parquetFile is one of them.
type parquetFile struct {
	name    string // its address, for errors
	dataset string
	path    string
	epoch   uint64 // to read a live dataset at, else 0
	size    int64
}

// isParquet says whether a path is called as Parquet files are.
func isParquet(path string) bool {
	path = strings.ToLower(path)
	return strings.HasSuffix(path, ".parquet") || strings.HasSuffix(path, ".parq") || strings.HasSuffix(path, ".pq")
}

func hasGlob(s string) bool { return strings.ContainsAny(s, "*?[") }

// parquetNames are the addresses of the Parquet files that a table is; nil where
// it is none.
func parquetNames(r *sql.Ref) []string {
	if r.Call != nil && r.Call.Name == "read_parquet" {
		return r.Call.Args
	}
	if r.Call == nil {
		if a, err := address.Parse(r.Address); err == nil && isParquet(a.Path) {
			return []string{r.Address}
		}
	}
	return nil
}

// parquet finds the files of a table and reads the schema of the first; nil where
// the name is of a dataset that holds no files.
func (j *job) parquet(ctx context.Context, r *sql.Ref, names []string) (*resolved, error) {
	p := &parquet{}
	for _, name := range names {
		a, err := address.Parse(name)
		if err != nil {
			return nil, err
		}
		d, err := j.c.Datasets.GetDataset(ctx, &datasetv1.GetDatasetRequest{Dataset: a.DatasetName()})
		if err != nil {
			return nil, j.suggest(ctx, name, wire.Fault(err))
		}
		if d.GetDataset().GetType() != datasetv1.Type_TYPE_POSIX {
			if r.Call == nil {
				return nil, nil // an array, perhaps
			}
			return nil, fault.New(fault.Invalid, "query.parquet", name, "Parquet files lie in POSIX datasets, and this is none")
		}
		x, err := j.c.Query.Schema(ctx, &queryv1.SchemaRequest{Dataset: a.DatasetName(), Epoch: j.pinned(name), Seen: j.task.GetStatement().GetSeen()})
		if err != nil {
			return nil, wire.Fault(err)
		}
		j.pin(name, x.GetEpoch())
		epoch := uint64(0)
		if a.Snapshot == "" {
			epoch = x.GetEpoch()
		}
		files, err := j.findFiles(ctx, a, epoch)
		if err != nil {
			return nil, err
		}
		if epoch != 0 {
			if err := j.keep(ctx, a, epoch); err != nil {
				return nil, err
			}
		}
		p.files = append(p.files, files...)
		if len(p.files) > maxFiles {
			return nil, fault.New(fault.TooBig, "query.parquet", name, "more than %d files", maxFiles).Do("name fewer, or join them")
		}
	}
	j.note.begin(p.files[0].name)
	f, err := j.openFile(ctx, p.files[0])
	if err != nil {
		return nil, err
	}
	j.note.end(p.files[0].name)
	p.schema = f.Schema()
	p.shown = columnar.Distinct(p.schema)
	if p.shown == p.schema { // else names stand for other columns than in the file
		p.fields, p.places = columnar.ComparedColumns(p.schema)
	}
	out := &resolved{schema: p.fields, kind: "posix", files: p}
	if len(p.files) == 1 {
		n := f.Rows()
		out.rows = &n
	}
	return out, nil
}

// findFiles are the files that an address names: one, those of a folder, or those
// that a pattern matches, in the byte order of their paths.
func (j *job) findFiles(ctx context.Context, a address.Address, epoch uint64) ([]*parquetFile, error) {
	file := func(path string, size uint64) *parquetFile {
		return &parquetFile{name: a.WithPath(path).String(), dataset: a.DatasetName(), path: path, epoch: epoch, size: int64(min(size, 1<<62))}
	}
	x, err := j.c.Posix.Read(ctx, &posixv1.ReadRequest{Dataset: a.DatasetName(), Path: []byte(a.Path), Epoch: epoch})
	switch {
	case err == nil:
		return []*parquetFile{file(a.Path, x.GetSize())}, nil
	case fault.Is(wire.Fault(err), fault.IsDirectory), a.Path == "":
		out, err := j.list(ctx, a, epoch, isParquet, file)
		if err == nil && len(out) == 0 {
			err = fault.New(fault.NotFound, "query.parquet", a.String(), "no file below it is called *.parquet, *.parq or *.pq").Do("name the files: '%s/**'", a)
		}
		return out, err
	case fault.Is(wire.Fault(err), fault.NotFound) && hasGlob(a.Path):
	default:
		return nil, wire.Fault(err)
	}
	pattern, err := glob.Compile(a.Path)
	if err != nil {
		return nil, err
	}
	// The folder that the pattern begins with: nothing else has to be looked at.
	base := ""
	for _, part := range strings.Split(a.Path, "/") {
		if hasGlob(part) || strings.Contains(part, `\`) {
			break
		}
		base += part + "/"
	}
	out, err := j.list(ctx, a.WithPath(strings.TrimSuffix(base, "/")), epoch, func(path string) bool { return pattern.Match([]byte(path)) }, file)
	if err == nil && len(out) == 0 {
		err = fault.New(fault.NotFound, "query.parquet", a.String(), "no file matches").Do("see what is there: SELECT path FROM \"%s\"", a.WithPath(strings.TrimSuffix(base, "/")))
	}
	return out, err
}

// keep keeps the epoch of a live dataset readable: a scan does, reads of files
// don't.
func (j *job) keep(ctx context.Context, a address.Address, epoch uint64) error {
	st, err := j.c.Query.Scan(ctx, &queryv1.ScanRequest{Dataset: a.DatasetName(), Epoch: epoch, Columns: []string{"inode"}, Limit: 1, Label: "files of a statement"})
	for err == nil {
		_, err = st.Recv()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return wire.Fault(err)
}

// list are the wanted files below a folder.
func (j *job) list(ctx context.Context, a address.Address, epoch uint64, wanted func(string) bool, file func(string, uint64) *parquetFile) ([]*parquetFile, error) {
	ctx, cancel := context.WithCancel(ctx)
	st, err := j.c.Query.Scan(ctx, &queryv1.ScanRequest{Dataset: a.String(), Epoch: epoch, Columns: []string{"path", "size"}, Where: "type = 'file'", Label: "files of a statement"})
	if err != nil {
		cancel()
		return nil, wire.Fault(err)
	}
	rows := &scan{t: &remote{j: j, ref: &sql.Ref{Address: a.String()}}, st: st, cancel: cancel, places: []int{0, 1}}
	defer rows.Close()
	var out []*parquetFile
	for {
		r, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		paths, sizes := &r.Columns[0], r.Columns[1].Values
		for i := range r.N {
			path := string(paths.Values[paths.Offsets[i]:paths.Offsets[i+1]])
			if !wanted(path) {
				continue
			}
			out = append(out, file(path, binary.LittleEndian.Uint64(sizes[8*i:])))
			if len(out) > maxFiles {
				return nil, fault.New(fault.TooBig, "query.parquet", a.String(), "more than %d files", maxFiles).Do("name fewer, or join them")
			}
		}
	}
	sort.Slice(out, func(i, k int) bool { return out[i].path < out[k].path })
	return out, nil
}

// rangesOf reads a file at its epoch.
type rangesOf struct {
	j   *job
	ctx context.Context //nolint:containedctx // io.ReaderAt has none
	f   *parquetFile
}

// ReadAt implements io.ReaderAt.
func (r *rangesOf) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) {
		want := min(len(b)-n, readPiece)
		x, err := r.j.c.Posix.Read(r.ctx, &posixv1.ReadRequest{Dataset: r.f.dataset, Path: []byte(r.f.path), Epoch: r.f.epoch,
			Offset: uint64(off) + uint64(n), Length: uint64(want)})
		if err != nil {
			return n, wire.Fault(err)
		}
		got := copy(b[n:], x.GetPayload())
		n += got
		if got < want {
			return n, io.EOF
		}
	}
	return n, nil
}

// openFile reads the metadata of a file. Arrow reads structs in goroutines of its
// own, where damage ends the process.
func (j *job) openFile(ctx context.Context, f *parquetFile) (*columnar.ParquetFile, error) {
	return columnar.OpenParquetAt(f.name, &rangesOf{j, ctx, f}, f.size, int(min(max(j.task.GetMemoryBytes()/2, 64<<20), 1<<31)))
}

// parquetTable is a mention of Parquet files in a statement.
type parquetTable struct {
	j     *job
	ctx   context.Context //nolint:containedctx // DuckDB calls back without one
	ref   *sql.Ref
	files *parquet

	groups, pruned, read, rows, bytes atomic.Uint64 // what was done, all scans together
}

// count adds what was done.
func (t *parquetTable) count(c *queryv1.Counters) {
	c.Chunks += t.groups.Load()
	c.ChunksPruned += t.pruned.Load()
	c.ChunksRead += t.read.Load()
	c.RowsScanned += t.rows.Load()
	c.RowsMatched += t.rows.Load()
	c.BytesRead += t.bytes.Load()
}

// Schema is the columns that conditions can compare.
func (t *parquetTable) Schema() expr.Schema { return t.files.fields }

// Rows is the number of rows where one file has them.
func (t *parquetTable) Rows() (uint64, bool) {
	if n := t.j.known[keyOf(t.ref)].rows; n != nil {
		return *n, true
	}
	return 0, false
}

// Open is never called: an ArrowTable is read by batches.
func (t *parquetTable) Open([]int) (duck.Reader, error) {
	return nil, fault.New(fault.Internal, "query.parquet", t.ref.Address, "it is read by batches")
}

// ArrowSchema is all columns.
func (t *parquetTable) ArrowSchema() *columnar.Schema { return t.files.shown }

// OpenArrow begins to read columns.
func (t *parquetTable) OpenArrow(columns []int) (duck.ArrowReader, error) {
	r := &parquetReader{t: t, columns: columns, left: t.ref.Limit}
	if t.ref.Where != nil {
		p, err := expr.Bind(t.ref.Where, t.files.fields, "")
		if err != nil {
			return nil, err
		}
		r.where = p
	}
	return r, nil
}

// parquetReader reads file by file, group by group.
type parquetReader struct {
	t       *parquetTable
	columns []int           // of the first file, in the order asked for
	where   *expr.Predicate // nil: every group is read
	left    uint64          // rows that are still wanted, where there is a limit

	at    int    // the next file
	name  string // of the open one, as it is noted
	file  *columnar.ParquetFile
	next  int // its next group
	group *columnar.Group
	order []int // for each column asked for, its place in a batch
	asked []int // columns of this file, ascending
}

func (r *parquetReader) Close() {
	r.closeGroup()
	r.leave()
}

func (r *parquetReader) closeGroup() {
	if r.group != nil {
		r.group.Close()
		r.group = nil
	}
}

// leave is done with the open file.
func (r *parquetReader) leave() {
	if r.name != "" {
		r.t.j.note.end(r.name)
		r.name = ""
	}
}

// Next is the next rows.
func (r *parquetReader) Next() (columnar.Record, error) {
	limited := r.t.ref.Limit > 0 && r.where == nil
	if limited && r.left == 0 {
		return nil, io.EOF
	}
	for {
		if err := r.t.ctx.Err(); err != nil {
			return nil, fault.Wrap(context.Cause(r.t.ctx), "query.parquet", r.t.ref.Address)
		}
		if r.group == nil {
			if err := r.open(); err != nil {
				return nil, err
			}
		}
		rec, err := r.group.Next()
		if errors.Is(err, io.EOF) {
			r.closeGroup()
			continue
		}
		if err != nil {
			return nil, err
		}
		if limited {
			r.left -= min(r.left, uint64(rec.NumRows()))
		}
		r.t.rows.Add(uint64(rec.NumRows()))
		return columnar.Reorder(rec, r.order), nil
	}
}

// open goes on to the next group that may have rows that match.
func (r *parquetReader) open() error {
	t := r.t
	for {
		if r.file == nil || r.next == r.file.RowGroups() {
			r.leave()
			if r.at == len(t.files.files) {
				return io.EOF
			}
			f := t.files.files[r.at]
			r.at++
			r.name = f.name
			t.j.note.begin(f.name)
			file, err := t.j.openFile(t.ctx, f)
			if err != nil {
				return err
			}
			if err := r.match(f, file); err != nil {
				return err
			}
			r.file, r.next = file, 0
			t.groups.Add(uint64(file.RowGroups()))
			continue
		}
		k := r.next
		r.next++
		if r.where != nil && r.where.Prune(r.stats(k)) == expr.None {
			t.pruned.Add(1)
			continue
		}
		g, err := r.file.Read(t.ctx, k, r.asked)
		if err != nil {
			return err
		}
		r.group = g
		t.read.Add(1)
		t.bytes.Add(g.Bytes)
		return nil
	}
}

// stats are the statistics of a group of the open file, by the table's fields.
func (r *parquetReader) stats(group int) []expr.Stats {
	places := make([]int, len(r.t.files.places))
	for i, c := range r.t.files.places {
		places[i] = r.place(c)
	}
	return r.file.Stats(group, r.t.files.fields, places)
}

// place is where the open file has a column of the table; -1 where it has it not.
func (r *parquetReader) place(c int) int {
	return columnar.FieldLike(r.file.Schema(), r.t.files.schema, c)
}

// match finds the columns of a file: it must have those that are asked for, of
// the same types.
func (r *parquetReader) match(f *parquetFile, file *columnar.ParquetFile) error {
	r.file = file
	places := make([]int, len(r.columns))
	for i, c := range r.columns {
		if places[i] = r.place(c); places[i] < 0 {
			return fault.New(fault.Invalid, "query.parquet", f.name, "it has no column %s, which %s has", columnar.FieldText(r.t.files.schema, c), r.t.files.files[0].name).
				Do("name files with the same columns")
		}
	}
	r.asked = slices.Clone(places)
	slices.Sort(r.asked)
	r.order = r.order[:0]
	for _, p := range places {
		r.order = append(r.order, slices.Index(r.asked, p))
	}
	return nil
}
