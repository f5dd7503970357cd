package service

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"daos/dataset/array"
	"daos/dataset/tensor"
	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/columnar"
	"daos/internal/fault"
	"daos/internal/querywire"
	"daos/internal/rescue"
	"daos/loader/manifest"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/query/exec"
	"daos/server/pool"
)

// viewQuery is the query of a view: a scan or a statement.
type viewQuery struct {
	scan *queryv1.ScanRequest
	sql  *queryv1.SqlRequest
	of   string // of a statement over several datasets
}

func (q *viewQuery) kind() string {
	if q.sql != nil {
		return "sql"
	}
	return "scan"
}

// encode is the message that is kept.
func (q *viewQuery) encode() ([]byte, error) {
	var m proto.Message = q.scan
	if q.sql != nil {
		m = q.sql
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fault.New(fault.Internal, "view.save", "query", "it can't be encoded").Because(err)
	}
	if len(b) > pool.MaxViewQuery {
		return nil, fault.New(fault.TooBig, "view.save", "query", "the query has %d bytes, at most %d are kept with a view", len(b), pool.MaxViewQuery).
			Do("put long lists into a dataset and join it")
	}
	return b, nil
}

// queryOf is the query of a view as it was kept.
func queryOf(v *pool.View) (*viewQuery, error) {
	q := &viewQuery{of: v.Of}
	var m proto.Message
	if v.Kind == "sql" {
		q.sql = &queryv1.SqlRequest{}
		m = q.sql
	} else {
		q.scan = &queryv1.ScanRequest{}
		m = q.scan
	}
	if err := proto.Unmarshal(v.Request, m); err != nil {
		return nil, fault.New(fault.Corrupt, "view.refresh", v.Name, "the query of the view is not readable").Because(err)
	}
	return q, nil
}

// text is the query as people read it.
func (q *viewQuery) text() string {
	if q.sql != nil {
		return strings.TrimSpace(q.sql.GetText())
	}
	r := q.scan
	var b strings.Builder
	b.WriteString(r.GetDataset())
	add := func(parts ...string) {
		for _, p := range parts {
			b.WriteByte(' ')
			b.WriteString(p)
		}
	}
	var conds []string
	if w := strings.TrimSpace(r.GetWhere()); w != "" {
		conds = append(conds, w)
	}
	if p := r.GetPredicate(); p != nil {
		if x, err := querywire.ExprOf(p); err == nil {
			conds = append(conds, x.String())
		}
	}
	if len(conds) == 1 {
		add("where", conds[0])
	} else if len(conds) > 1 {
		add("where", "("+strings.Join(conds, ") and (")+")")
	}
	if s := r.GetSample(); s != nil {
		if add("sample"); s.GetN() > 0 {
			add(strconv.FormatUint(s.GetN(), 10))
		} else {
			add(strconv.FormatFloat(s.GetFraction(), 'g', -1, 64))
		}
		if s.GetStratifyBy() != "" {
			add("of each", s.GetStratifyBy())
		}
		add("seed", strconv.FormatUint(s.GetSeed(), 10))
	}
	if t := r.GetTop(); t != nil {
		way := ""
		if t.GetDescending() {
			way = "-"
		}
		add("top", strconv.FormatUint(t.GetK(), 10), "by", way+t.GetColumn())
	}
	if n := r.GetOffset(); n > 0 {
		add("offset", strconv.FormatUint(n, 10))
	}
	if n := r.GetLimit(); n > 0 {
		add("limit", strconv.FormatUint(n, 10))
	}
	return b.String()
}

// target is the dataset, and the state of it, that a view is to be of.
type target struct {
	pool.Resolved                   // its Snapshot is nil where the view makes one
	at            object.Epoch      // of the samples
	path          string            // below which samples are numbered
	name          string            // of the snapshot, also of one that is still to be made
	epochs        map[string]uint64 // of all datasets of a statement
	mention       string            // the dataset as the statement has it
}

// what names it for errors.
func (t *target) what() string { return t.Address.Live().DatasetName() }

// find says what a query is of. snapshot, unless empty, is to be read in place of
// the state that the query names.
func (s *Views) find(ctx context.Context, q *viewQuery, snapshot string, seen uint64) (*target, error) {
	if q.sql != nil {
		return s.findSQL(ctx, q, snapshot)
	}
	r := q.scan
	if len(r.GetGroupBy()) > 0 || len(r.GetAggregates()) > 0 {
		return nil, fault.New(fault.Invalid, "view.save", r.GetDataset(), "groups are no samples").Do("leave out the groups and aggregates")
	}
	if r.GetFunction() != nil {
		return nil, fault.New(fault.Invalid, "view.save", r.GetDataset(), "rows of a table function are no samples").Do("query the dataset itself")
	}
	a, err := address.Parse(r.GetDataset())
	if err != nil {
		return nil, err
	}
	if snapshot != "" {
		a.Snapshot = snapshot
	}
	t := &target{path: a.Path}
	return t, s.resolve(ctx, t, a, r.GetEpoch(), max(seen, r.GetSeen()))
}

// resolve finds the dataset, and the epoch.
func (s *Views) resolve(ctx context.Context, t *target, a address.Address, named, seen uint64) error {
	var err error
	if t.Resolved, err = s.Datasets.pools.Resolve(ctx, a); err != nil {
		return err
	}
	if a.Path != "" && t.Dataset.Type == pool.TypeTensor {
		return fault.New(fault.Invalid, "view.save", a.String(), "a tensor dataset has no paths").Do("name the dataset alone: %s", a.DatasetName())
	}
	t.name = a.Snapshot
	if t.at, err = t.Epoch(ctx, object.Epoch(named), object.Epoch(seen)); err != nil {
		return fullName(a, err)
	}
	return s.keep(ctx, t)
}

// keep keeps the epoch of a live dataset readable.
func (s *Views) keep(ctx context.Context, t *target) error {
	if t.Snapshot != nil {
		return nil
	}
	return fullName(t.Address, s.Datasets.pools.Pin(ctx, t.Dataset.ID, t.at))
}

// findSQL asks what a statement reads.
func (s *Views) findSQL(ctx context.Context, q *viewQuery, snapshot string) (*target, error) {
	plan, err := s.Query.ExplainSql(ctx, &queryv1.ExplainSqlRequest{Statement: q.sql})
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(plan.GetEpochs()))
	for name := range plan.GetEpochs() {
		if _, err := address.Parse(name); err == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	mention, err := mentioned(names, q.of)
	if err != nil {
		return nil, err
	}
	a, err := address.Parse(mention)
	if err != nil {
		return nil, err
	}
	t := &target{path: a.Path, mention: mention, epochs: plan.GetEpochs()}
	if snapshot != "" {
		if a.Snapshot != "" && a.Snapshot != snapshot {
			return nil, fault.New(fault.Invalid, "view.refresh", mention, "the statement itself says that it is read at %s", a.Snapshot).
				Do("save a view of another statement, with replace")
		}
		live := a.Snapshot == ""
		a.Snapshot = snapshot
		if err := s.resolve(ctx, t, a, 0, 0); err != nil {
			return nil, err
		}
		if live {
			t.epochs[mention] = uint64(t.at)
		}
		return t, nil
	}
	named := uint64(0)
	if a.Snapshot == "" {
		named = t.epochs[mention]
	}
	return t, s.resolve(ctx, t, a, named, 0)
}

// mentioned is the dataset that the samples of a statement are of.
func mentioned(names []string, of string) (string, error) {
	if of == "" {
		switch len(names) {
		case 1:
			return names[0], nil
		case 0:
			return "", fault.New(fault.Invalid, "view.save", "statement", "it names no dataset of which the samples could be").
				Do("select from one, FROM \"POOL/DATASET\", or say of which they are: --of POOL/DATASET@SNAPSHOT, of=")
		}
		return "", fault.New(fault.Invalid, "view.save", "statement", "it reads several datasets: %s", strings.Join(names, ", ")).
			Do("say of which the samples are: --of %s, of=", names[0])
	}
	want, err := address.Parse(of)
	if err != nil {
		return "", err
	}
	var found []string
	for _, name := range names {
		a, err := address.Parse(name)
		if err != nil {
			continue
		}
		if a == want {
			return name, nil
		}
		if a.Live().WithPath("") == want.Live().WithPath("") && (want.Snapshot == "" || want.Snapshot == a.Snapshot) && (want.Path == "" || want.Path == a.Path) {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		if want.Snapshot != "" { // rows of a function, or of other datasets, may name its samples
			return of, nil
		}
		return "", fault.New(fault.Invalid, "view.save", of, "the statement does not read it; it reads %s", strings.Join(append(names, "no other")[:max(len(names), 1)], ", ")).
			Do("say at which snapshot the samples are: %s@SNAPSHOT", of)
	}
	return "", fault.New(fault.Invalid, "view.save", of, "the statement reads it as %s", strings.Join(found, " and ")).Do("name one of them")
}

// picked is what a query gave.
type picked struct {
	*manifest.Picker
	ordered bool
	leftOut uint64
}

// pick runs a query and collects its samples.
func (s *Views) pick(ctx context.Context, q *viewQuery, t *target) (*picked, error) {
	out := &picked{ordered: q.scan.GetTop() != nil || q.sql != nil && orders(q.sql.GetText())}
	x, err := s.numberer(ctx, t, out.ordered)
	if err != nil {
		return nil, err
	}
	out.Picker = x.picker
	defer x.close()
	keeping := time.NewTicker(time.Minute)
	defer keeping.Stop()
	each := func() error {
		select {
		case <-keeping.C:
			return s.keep(ctx, t)
		default:
			return nil
		}
	}
	if q.sql != nil {
		err = s.Query.statement(ctx, &queryv1.SqlTask{Statement: q.sql, Epochs: t.epochs}, func(cols []tensor.Column, rows func() (*tensor.Rows, error)) error {
			places, err := x.columns(cols)
			for err == nil {
				var r *tensor.Rows
				if r, err = rows(); err != nil {
					break
				}
				if err = x.add(ctx, r.N, datas(cols, r, places)); err == nil {
					err = each()
				}
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		})
	} else {
		x.repeats = x.each > 1 // elements of one sample
		err = s.scan(ctx, q.scan, t, x, each)
	}
	if err != nil {
		out.Close()
		return nil, err
	}
	out.leftOut = x.leftOut
	return out, nil
}

func (x *numberer) close() {
	if x.finder != nil {
		x.finder.Close()
	}
}

// numberer makes what turns rows into samples of a target.
func (s *Views) numberer(ctx context.Context, t *target, ordered bool) (*numberer, error) {
	x := &numberer{what: t.what(), kind: t.Dataset.Type, each: 1}
	dir, err := s.Loader.makeFolder(t.Dataset.ID)
	if err != nil {
		return nil, err
	}
	samples := uint64(0)
	switch t.Dataset.Type {
	case pool.TypeTensor:
		p, err := tensor.Open(t.Store, t.what(), tensor.WithClock(s.Datasets.now)).Pin(ctx, t.at)
		if err != nil {
			return nil, fullName(t.Address, err)
		}
		samples = p.Length()
	case pool.TypeArray:
		a, err := array.Open(t.Store, t.what()).Scan(ctx, t.at, t.path)
		if err != nil {
			return nil, fullName(t.Address, err)
		}
		spec := a.Spec()
		if spec.Rank() == 0 {
			return nil, fault.New(fault.Unsupported, "view.save", x.what, "an array without axes has no samples")
		}
		samples = spec.Shape[0]
		for _, n := range spec.Shape[1:] {
			x.each *= n
		}
		if spec.Rank() > 1 {
			x.axis = "dim_0"
			if spec.Dims != nil && spec.Dims[0] != "" {
				x.axis = spec.Dims[0]
			}
		}
	default:
		req, err := s.Loader.requestAt(ctx, t.Resolved, t.at, t.name, manifest.Selection{Path: t.path})
		if err != nil {
			return nil, err
		}
		m, _, _, err := s.Loader.library.Open(ctx, req)
		if err != nil {
			return nil, fullName(t.Address, err)
		}
		samples = m.Info().Samples
		if x.finder, err = m.NewFinder(ctx); err != nil {
			return nil, fullName(t.Address, err)
		}
		if t.Dataset.Type == pool.TypePosix {
			fs, err := s.Datasets.open(ctx, t.Resolved)
			if err != nil {
				x.close()
				return nil, fullName(t.Address, err)
			}
			x.stat = statOf(fs.At(t.at))
		}
	}
	if x.picker, err = manifest.NewPicker(dir, samples, ordered); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

// scan runs a scan at the target's state.
func (s *Views) scan(ctx context.Context, r *queryv1.ScanRequest, t *target, x *numberer, each func() error) error {
	a := t.Address
	table, err := s.Query.open(ctx, a.String(), uint64(t.at), 0)
	if err != nil {
		return err
	}
	req, err := requestOf(r)
	if err != nil {
		return err
	}
	req.Columns, req.BatchRows = scanColumns[t.Dataset.Type], 0
	st, err := exec.Open(ctx, table.Source, req)
	if err != nil {
		return table.err(err)
	}
	defer st.Close()
	for {
		rows, err := st.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = x.add(ctx, rows.N, vectors(st.Schema(), rows.Columns))
		}
		if err == nil {
			err = each()
		}
		if err != nil {
			return table.err(err)
		}
	}
}

// statement runs a statement and hands its rows to fn, which asks for them until
// io.EOF. No error means that they were all.
func (q *Query) statement(ctx context.Context, task *queryv1.SqlTask, fn func(cols []tensor.Column, rows func() (*tensor.Rows, error)) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { // ends when the statement does, which it does when ctx ends
		done := false
		err := rescue.Do(func() error {
			return q.SQL.run(ctx, task, func(_ context.Context, m *queryv1.SqlReply) error {
				b := m.GetBatch()
				if b == nil {
					return fault.New(fault.Internal, "query.sql", "statement", "its process sent a plan in place of rows")
				}
				done = b.GetDone()
				_, err := out.Write(b.GetPayload())
				return err
			})
		})
		if err == nil && !done {
			err = fault.New(fault.DataLoss, "query.sql", "statement", "it ended without the proof that its result is complete").Do("run it again")
		}
		ended <- err
		_ = out.CloseWithError(err) // never fails
	}()
	rows, err := columnar.NewRowReader(in)
	if err == nil {
		err = fn(rows.Columns(), rows.Next)
		rows.Close()
	}
	if err != nil {
		select {
		case why := <-ended: // what the rows ended with says less
			if why != nil {
				err = why
			}
		default:
			_ = in.CloseWithError(err) // never fails
			cancel()
			<-ended
		}
		return rescue.Again(err)
	}
	_, _ = io.Copy(io.Discard, in) // behind the end of the rows comes the proof
	return rescue.Again(<-ended)
}
