//go:build cgo

package duck

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	duckdb "github.com/duckdb/duckdb-go-bindings"

	"daos/internal/fault"
	"daos/query/exec"
	"daos/query/expr"
	"daos/query/sql"
)

// Options bound what a statement may use.
type Options struct {
	Memory    uint64 // bytes; 0: 1 GiB
	Threads   int    // 0: 2
	TempDir   string // where it spills; "": nowhere
	TempBytes uint64 // of it
}

// DB runs one statement at a time.
type DB struct {
	db     duckdb.Database
	conn   duckdb.Connection
	tables map[string]Table

	memory  uint64 // as it was made
	threads int

	mu    sync.Mutex
	cause error // of a failed scan, as it was before DuckDB made a text of it
}

func internal(format string, args ...any) error {
	return fault.New(fault.Internal, "query.sql", "statement", format, args...)
}

// Version is DuckDB's.
func Version() string { return duckdb.LibraryVersion() }

// Open makes an empty database.
func Open(o Options) (*DB, error) {
	d, err := Prepare(o)
	if err != nil {
		return nil, err
	}
	if err := d.Harden(o.Memory, o.Threads); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Prepare makes an empty database that no statement of others may come to yet:
// Harden follows, when it is known how much that may use.
func Prepare(o Options) (*DB, error) {
	o.Memory, o.Threads = defaults(o.Memory, o.Threads)
	var cfg duckdb.Config
	if duckdb.CreateConfig(&cfg) != duckdb.StateSuccess {
		return nil, internal("no configuration can be made")
	}
	defer duckdb.DestroyConfig(&cfg)
	settings := [][2]string{{"memory_limit", strconv.FormatUint(o.Memory, 10) + "B"}, {"threads", strconv.Itoa(o.Threads)}}
	if o.TempDir != "" {
		settings = append(settings, [2]string{"temp_directory", o.TempDir})
	}
	settings = append(settings, [2]string{"autoinstall_known_extensions", "false"}, [2]string{"autoload_known_extensions", "false"},
		[2]string{"enable_external_access", "false"}) // last: it forbids the others
	for _, s := range settings {
		if duckdb.SetConfig(cfg, s[0], s[1]) != duckdb.StateSuccess {
			return nil, internal("the setting %s=%s is refused", s[0], s[1])
		}
	}
	d := &DB{memory: o.Memory, threads: o.Threads}
	var text string
	if duckdb.OpenExt(":memory:", &d.db, cfg, &text) != duckdb.StateSuccess {
		return nil, internal("the database can't be made: %s", text)
	}
	if duckdb.Connect(d.db, &d.conn) != duckdb.StateSuccess {
		duckdb.Close(&d.db)
		return nil, internal("the database can't be connected to")
	}
	err := d.register()
	if err == nil {
		// The limit of what is spilled does not hold where it is set before.
		_, err = d.value(fmt.Sprintf("SET max_temp_directory_size = '%dB'; SET errors_as_json = true; SELECT 'set'", o.TempBytes))
	}
	if err == nil {
		err = d.warm()
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func defaults(memory uint64, threads int) (uint64, int) {
	if memory == 0 {
		memory = 1 << 30
	}
	if threads == 0 {
		threads = 2
	}
	return memory, threads
}

// Harden bounds what the statements may use, and lets them change no setting.
func (d *DB) Harden(memory uint64, threads int) error {
	memory, threads = defaults(memory, threads)
	var set string
	if memory != d.memory {
		set += fmt.Sprintf("SET memory_limit = '%dB'; ", memory)
	}
	if threads != d.threads {
		set += fmt.Sprintf("SET threads = %d; ", threads)
	}
	// The last setting: none can be changed after it.
	_, err := d.value(set + "SET lock_configuration = true; SELECT 'locked'")
	return err
}

// Close frees everything.
func (d *DB) Close() {
	duckdb.Disconnect(&d.conn)
	duckdb.Close(&d.db)
}

func (d *DB) failed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cause == nil {
		d.cause = err
	}
}

// value runs a statement of ours and returns the text of its one cell.
func (d *DB) value(statement string, params ...string) (string, error) {
	var stmts duckdb.ExtractedStatements
	n := duckdb.ExtractStatements(d.conn, statement, &stmts)
	defer duckdb.DestroyExtracted(&stmts)
	if n == 0 {
		return "", internal("%s", duckdb.ExtractStatementsError(stmts))
	}
	out := ""
	for i := range n {
		var p duckdb.PreparedStatement
		if duckdb.PrepareExtractedStatement(d.conn, stmts, i, &p) != duckdb.StateSuccess {
			err := internal("%s", duckdb.PrepareError(p))
			duckdb.DestroyPrepare(&p)
			return "", err
		}
		if i == n-1 {
			for k, s := range params {
				duckdb.BindVarchar(p, duckdb.IdxT(k+1), s)
			}
		}
		var res duckdb.Result
		state := duckdb.ExecutePrepared(p, &res)
		duckdb.DestroyPrepare(&p)
		if state != duckdb.StateSuccess {
			err := internal("%s", duckdb.ResultError(&res))
			duckdb.DestroyResult(&res)
			return "", err
		}
		if i == n-1 {
			chunk := duckdb.FetchChunk(res)
			if chunk.Ptr != nil && duckdb.DataChunkGetSize(chunk) > 0 {
				var rows exec.Rows
				get(chunk, expr.Schema{{Name: "x", Type: expr.Text}}, &rows)
				out = string(rows.Columns[0].Values)
			}
			duckdb.DestroyDataChunk(&chunk)
		}
		duckdb.DestroyResult(&res)
	}
	return out, nil
}

// Tree is the JSON tree of a statement; an error marks the place of what is
// wrong with it. Only one SELECT is taken.
func (d *DB) Tree(text string) ([]byte, error) {
	if at := strings.IndexByte(text, 0); at >= 0 { // DuckDB would run what stands before it
		return nil, sql.Problem(text, at, fault.Invalid, "a statement has no NUL characters").Do("in a text write it as chr(0), or give the text as a parameter")
	}
	if err := sql.CheckDepth(text); err != nil {
		return nil, err
	}
	out, err := d.value("SELECT json_serialize_sql(?::VARCHAR)::VARCHAR", text)
	if err != nil {
		return nil, err
	}
	// A number beyond every double is no JSON in the way DuckDB writes it. The
	// quotes of a text would have a backslash before them.
	out = strings.NewReplacer(`"value":Infinity`, `"value":1e999`, `"value":-Infinity`, `"value":-1e999`).Replace(out)
	var head struct {
		Error    bool              `json:"error"`
		Message  string            `json:"error_message"`
		Type     string            `json:"error_type"`
		Position string            `json:"position"`
		Stmts    []json.RawMessage `json:"statements"`
	}
	if err := json.Unmarshal([]byte(out), &head); err != nil {
		return nil, internal("the tree of the statement is not readable").(*fault.Error).Because(err)
	}
	if head.Error {
		at := -1
		if n, err := strconv.Atoi(head.Position); err == nil {
			at = n
		}
		if strings.Contains(head.Message, "Only SELECT") {
			if word, _, _ := strings.Cut(strings.TrimSpace(text), " "); strings.EqualFold(word, "EXPLAIN") {
				return nil, sql.Problem(text, -1, fault.Invalid, "EXPLAIN is no SELECT").
					Do("`daos query sql --explain` or --analyze, explain() of a statement in Python, or `daos query shell` say what is done")
			}
			return nil, sql.Problem(text, -1, fault.Invalid, "only SELECT can be run: a query changes nothing").Do("change data with the calls of its dataset")
		}
		e := sql.Problem(text, at, fault.Invalid, "%s", head.Message)
		if strings.HasSuffix(head.Message, `near "/"`) {
			return nil, e.Do("a dataset is named by its address in double quotes: FROM \"POOL/DATASET[@SNAPSHOT]\"")
		}
		if do := sql.Misspelled(text, at); do != "" {
			return nil, e.Do("%s", do)
		}
		return nil, e
	}
	if len(head.Stmts) == 0 {
		return nil, sql.Problem(text, -1, fault.Invalid, "there is no statement in it").Do("send one, as SELECT 1")
	}
	if len(head.Stmts) != 1 {
		return nil, sql.Problem(text, -1, fault.Invalid, "there are %d statements, one can be run", len(head.Stmts)).Do("send them one by one")
	}
	return []byte(out), nil
}

// Param is the value of a parameter: by name, or by number ("1").
type Param struct {
	Name  string
	Value expr.Value
}

// Query runs a statement. head gets the columns first, then each gets the rows,
// which are good until it returns; an error of either ends it, and so does ctx.
func (d *DB) Query(ctx context.Context, plan *sql.Plan, tables map[string]Table, params []Param, head func(expr.Schema) error, each func(*exec.Rows) error) error {
	d.tables = tables
	d.mu.Lock()
	d.cause = nil
	d.mu.Unlock()
	run := &running{DB: d, plan: plan}
	if err := run.write(plan.AST); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { duckdb.Interrupt(d.conn) })
	defer stop()
	p, fields, err := run.prepare(ctx)
	if err != nil {
		return err
	}
	defer func() { duckdb.DestroyPrepare(&p) }()
	if err := bind(p, params); err != nil {
		return err
	}
	// A parameter of a type that is not bound, or columns that depend on what is.
	if run.untyped || slices.ContainsFunc(params, func(x Param) bool { return x.Value.Type == expr.Time }) {
		duckdb.DestroyPrepare(&p)
		values := map[string]expr.Value{}
		for _, x := range params {
			values[x.Name] = x.Value
		}
		ast, err := sql.WithValues(plan.AST, values)
		if err != nil {
			return err
		}
		if err := run.write(ast); err != nil {
			return err
		}
		if p, fields, err = run.prepare(ctx); err != nil {
			return err
		}
		if err := bind(p, slices.DeleteFunc(slices.Clone(params), func(x Param) bool { return sql.InTree(x.Value) })); err != nil {
			return err
		}
	}
	if err := head(fields); err != nil {
		return err
	}
	if done, err := run.grouped(ctx, fields, each); done || err != nil {
		return err
	}
	return run.execute(ctx, p, fields, each)
}

// grouped runs a statement over the groups that the targets make. Where they
// can't, as there are too many or a sum is too large, nothing has happened yet:
// DuckDB runs it then.
func (d *running) grouped(ctx context.Context, fields expr.Schema, each func(*exec.Rows) error) (done bool, err error) {
	g := d.plan.Groups
	if g == nil || d.tables[g.Handle] == nil {
		return false, nil
	}
	text := g.Text(fields)
	if text == "" {
		g.Left = "the types of the result are others than those of the targets"
		return false, nil
	}
	var p duckdb.PreparedStatement
	defer func() { duckdb.DestroyPrepare(&p) }()
	if duckdb.Prepare(d.conn, text, &p) != duckdb.StateSuccess {
		return false, internal("the groups of a statement can't be read: %s", duckdb.PrepareError(p))
	}
	begun := false
	err = d.execute(ctx, p, fields, func(r *exec.Rows) error {
		begun = true
		return each(r)
	})
	d.mu.Lock()
	cause := d.cause
	d.mu.Unlock()
	if err == nil || begun || ctx.Err() != nil || cause != nil && !fault.Is(cause, fault.Invalid) && !fault.Is(cause, fault.TooBig) {
		return true, err
	}
	g.Left = "the targets can't: " + err.Error()
	d.mu.Lock()
	d.cause = nil
	d.mu.Unlock()
	return false, nil
}

// execute runs a statement that is prepared.
func (d *running) execute(ctx context.Context, p duckdb.PreparedStatement, fields expr.Schema, each func(*exec.Rows) error) error {
	var pending duckdb.PendingResult
	if duckdb.PendingPreparedStreaming(p, &pending) != duckdb.StateSuccess {
		err := d.problem(ctx, duckdb.PendingError(pending))
		duckdb.DestroyPending(&pending)
		return err
	}
	var res duckdb.Result
	state := duckdb.ExecutePending(pending, &res)
	duckdb.DestroyPending(&pending)
	defer duckdb.DestroyResult(&res)
	if state != duckdb.StateSuccess {
		return d.problem(ctx, duckdb.ResultError(&res))
	}
	var rows exec.Rows
	for {
		if err := ctx.Err(); err != nil {
			return fault.Wrap(context.Cause(ctx), "query.sql", "statement")
		}
		chunk := duckdb.FetchChunk(res)
		if chunk.Ptr == nil {
			break
		}
		get(chunk, fields, &rows)
		duckdb.DestroyDataChunk(&chunk)
		if rows.N == 0 {
			continue
		}
		if err := each(&rows); err != nil {
			return err
		}
	}
	if text := duckdb.ResultError(&res); text != "" {
		return d.problem(ctx, text)
	}
	return nil
}

// running is a statement that runs.
type running struct {
	*DB
	plan   *sql.Plan
	text   string // what DuckDB made of the plan's tree
	before int    // bytes that were put before it
	// Whether the types of its columns depend on those of its parameters: DuckDB
	// then knows one column, "unknown".
	untyped bool
}

// write makes the text that runs of a tree.
func (d *running) write(ast []byte) error {
	text, err := d.value("SELECT json_deserialize_sql(?::JSON)::VARCHAR", string(ast))
	d.text, d.before = strings.TrimSuffix(strings.TrimSpace(text), ";"), 0
	return err
}

// prepare prepares a statement; columns of types that a result has not are cast
// around it.
func (d *running) prepare(ctx context.Context) (p duckdb.PreparedStatement, fields expr.Schema, err error) {
	if duckdb.Prepare(d.conn, d.text, &p) != duckdb.StateSuccess {
		err = d.problem(ctx, duckdb.PrepareError(p))
		duckdb.DestroyPrepare(&p)
		return p, nil, err
	}
	d.untyped = duckdb.NParams(p) > 0 && duckdb.PreparedStatementColumnCount(p) == 1 && duckdb.PreparedStatementColumnName(p, 0) == "unknown"
	casts := false
	var list, names []string
	var shown []string
	for i := range duckdb.PreparedStatementColumnCount(p) {
		shown = append(shown, duckdb.PreparedStatementColumnName(p, i))
	}
	for i, name := range distinct(shown) {
		i := duckdb.IdxT(i)
		lt := duckdb.PreparedStatementColumnLogicalType(p, i)
		f, cast := resultField(name, lt)
		duckdb.DestroyLogicalType(&lt)
		fields = append(fields, f)
		col := fmt.Sprintf("c%d", i)
		names = append(names, col)
		if cast != "" {
			casts = true
			col = "CAST(" + col + " AS " + cast + ")"
		}
		list = append(list, col)
	}
	if !casts {
		return p, fields, nil
	}
	duckdb.DestroyPrepare(&p)
	head := "SELECT " + strings.Join(list, ", ") + " FROM ("
	d.before = len(head)
	if duckdb.Prepare(d.conn, head+d.text+") AS r("+strings.Join(names, ", ")+")", &p) != duckdb.StateSuccess {
		err = d.problem(ctx, duckdb.PrepareError(p))
		duckdb.DestroyPrepare(&p)
	}
	return p, fields, err
}

// distinct gives columns of one name numbers: "a", "a_1", "a_2".
func distinct(names []string) []string {
	out, taken, last := slices.Clone(names), map[string]bool{}, map[string]int{}
	for _, name := range names {
		taken[name] = false
	}
	for i, name := range names {
		for taken[out[i]] {
			last[name]++
			next := fmt.Sprintf("%s_%d", name, last[name])
			if _, ok := taken[next]; !ok {
				out[i] = next
			}
		}
		taken[out[i]] = true
	}
	return out
}

func bind(p duckdb.PreparedStatement, params []Param) error {
	given := map[string]expr.Value{}
	for _, x := range params {
		given[x.Name] = x.Value
	}
	for i := duckdb.IdxT(1); i <= duckdb.NParams(p); i++ {
		name := sql.GivenAs(duckdb.ParameterName(p, i))
		v, ok := given[name]
		if !ok {
			return fault.New(fault.Invalid, "query.sql", "parameter "+name, "it has no value").Do("give it: --param %s=VALUE", name)
		}
		delete(given, name)
		var state duckdb.State
		switch v.Type {
		case expr.Null:
			state = duckdb.BindNull(p, i)
		case expr.Bool:
			state = duckdb.BindBoolean(p, i, v.B)
		case expr.Int64:
			state = duckdb.BindInt64(p, i, v.I)
		case expr.Uint64:
			state = duckdb.BindUInt64(p, i, v.U)
		case expr.Float64:
			state = duckdb.BindDouble(p, i, v.F)
		case expr.Bytes:
			state = duckdb.BindBlob(p, i, []byte(v.S))
		default:
			state = duckdb.BindVarchar(p, i, v.S)
		}
		if state != duckdb.StateSuccess {
			return fault.New(fault.Invalid, "query.sql", "parameter "+name, "its value is not taken")
		}
	}
	for name := range given {
		return fault.New(fault.Invalid, "query.sql", "parameter "+name, "the statement has no such parameter").Do("write it as $%s", name)
	}
	return nil
}

// problem is the error of a statement: that of a scan as it was, a cancel as
// such, what DuckDB says with the names and the place of the statement's writer.
func (d *running) problem(ctx context.Context, text string) error {
	d.mu.Lock()
	cause := d.cause
	d.mu.Unlock()
	if ctx.Err() != nil {
		return fault.Wrap(context.Cause(ctx), "query.sql", "statement")
	}
	if cause != nil {
		return cause
	}
	r := sql.ReadRefusal(text)
	if r.At >= d.before {
		r.At = d.place(r.At - d.before)
	} else {
		r.At = -1
	}
	return d.plan.Refused(r)
}

// place is where in the statement's text lies what is at a place of the text
// that runs, -1 where that is not known.
func (d *running) place(at int) int {
	tree, err := d.value("SELECT json_serialize_sql(?::VARCHAR)::VARCHAR", d.text)
	if err != nil {
		return -1
	}
	return sql.Places(d.plan.AST, []byte(tree))(at)
}
