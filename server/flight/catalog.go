package flight

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	arrowarray "github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/flight/flightsql"
	"github.com/apache/arrow/go/v17/arrow/flight/flightsql/schema_ref"
	flightpb "github.com/apache/arrow/go/v17/arrow/flight/gen/flight"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"daos/dataset/array"
	"daos/internal/address"
	"daos/internal/columnar"
	"daos/internal/fault"
	"daos/internal/version"
	queryv1 "daos/proto/gen/daos/query/v1"
	"daos/server/pool"
)

// listing is a command of Flight SQL that asks what there is, as clients do
// before they ask for anything else. Pools are catalogs, with one schema that
// has no name; datasets, and the arrays of array datasets, are tables, called as
// statements call them. Unlike other tickets that of a listing gives what is
// there when it is read.
type listing struct {
	of      proto.Message
	command []byte // the Any that it came in: what its ticket has
}

// tableType is that of all tables.
const tableType = "TABLE"

// maxListing bounds the bytes of names and schemas of one listing.
const maxListing = 64 << 20

// listingOf is nil for a command that asks for something else.
func listingOf(a *anypb.Any, command []byte) (*listing, error) {
	for _, m := range []proto.Message{
		&flightpb.CommandGetCatalogs{}, &flightpb.CommandGetDbSchemas{}, &flightpb.CommandGetTables{}, &flightpb.CommandGetTableTypes{}, &flightpb.CommandGetSqlInfo{},
		&flightpb.CommandGetPrimaryKeys{}, &flightpb.CommandGetExportedKeys{}, &flightpb.CommandGetImportedKeys{}, &flightpb.CommandGetCrossReference{},
	} {
		if a.MessageIs(m) {
			return &listing{m, command}, a.UnmarshalTo(m)
		}
	}
	return nil, nil
}

func (l *listing) schema() *arrow.Schema {
	switch of := l.of.(type) {
	case *flightpb.CommandGetCatalogs:
		return schema_ref.Catalogs
	case *flightpb.CommandGetDbSchemas:
		return schema_ref.DBSchemas
	case *flightpb.CommandGetTables:
		if of.GetIncludeSchema() {
			return schema_ref.TablesWithIncludedSchema
		}
		return schema_ref.Tables
	case *flightpb.CommandGetTableTypes:
		return schema_ref.TableTypes
	case *flightpb.CommandGetSqlInfo:
		return schema_ref.SqlInfo
	case *flightpb.CommandGetPrimaryKeys:
		return schema_ref.PrimaryKeys
	}
	return schema_ref.ImportedExportedKeysAndCrossReference
}

// getListing sends the rows of a listing.
func (s *Server) getListing(ctx context.Context, l *listing, out stream) error {
	if of, ok := l.of.(*flightpb.CommandGetSqlInfo); ok {
		rec, err := sqlInfos(ctx, of)
		if err != nil {
			return err
		}
		defer rec.Release()
		return sendListing(out, rec)
	}
	b := arrowarray.NewRecordBuilder(memory.DefaultAllocator, l.schema())
	defer b.Release()
	var err error
	switch of := l.of.(type) {
	case *flightpb.CommandGetCatalogs:
		for _, name := range s.o.Catalog.PoolNames() {
			texts(b, name)
		}
	case *flightpb.CommandGetDbSchemas:
		var match func(string) bool
		if match, err = like(of.DbSchemaFilterPattern); err != nil {
			break
		}
		for _, name := range s.o.Catalog.PoolNames() {
			if (of.Catalog == nil || of.GetCatalog() == name) && match("") {
				texts(b, name, "")
			}
		}
	case *flightpb.CommandGetTableTypes:
		texts(b, tableType)
	case *flightpb.CommandGetTables:
		err = s.tables(ctx, of, b)
	}
	if err != nil {
		return err
	}
	rec := b.NewRecord()
	defer rec.Release()
	return sendListing(out, rec)
}

func sendListing(out stream, rec arrow.Record) error {
	w, err := newSender(out, rec.Schema())
	if err != nil {
		return err
	}
	return sendRecord(w, rec, nil)
}

// texts appends a row.
func texts(b *arrowarray.RecordBuilder, row ...string) {
	for i, v := range row {
		b.Field(i).(*arrowarray.StringBuilder).Append(v)
	}
}

// tables appends the datasets, and of array datasets the arrays.
func (s *Server) tables(ctx context.Context, of *flightpb.CommandGetTables, b *arrowarray.RecordBuilder) error {
	schema, err := like(of.DbSchemaFilterPattern)
	if err != nil {
		return err
	}
	name, err := like(of.TableNameFilterPattern)
	if err != nil {
		return err
	}
	if types := of.GetTableTypes(); !schema("") || len(types) > 0 && !slices.Contains(types, tableType) {
		return nil
	}
	all, err := s.o.Catalog.Datasets("")
	if err != nil {
		return err
	}
	size := 0
	add := func(d *pool.Dataset, table string) error {
		if !name(table) {
			return nil
		}
		texts(b, d.Pool, "", table, tableType)
		if of.GetIncludeSchema() {
			columns, err := s.tableSchema(ctx, table)
			if err != nil {
				return err
			}
			b.Field(4).(*arrowarray.BinaryBuilder).Append(columns)
			size += len(columns)
		}
		if size += len(d.Pool) + len(table) + len(tableType) + 20; size > maxListing {
			return fault.New(fault.TooBig, "flight.tables", "", "the tables of this server take more than %d MiB", maxListing>>20).
				Do("ask for those of one catalog, or whose name matches a pattern")
		}
		return nil
	}
	for _, d := range all {
		if of.Catalog != nil && of.GetCatalog() != d.Pool {
			continue
		}
		if d.Type != pool.TypeArray {
			err = add(d, d.Address())
		} else {
			err = s.eachArray(ctx, d, func(path string) error { return add(d, d.Address()+"/"+path) })
		}
		if err != nil && !fault.Is(err, fault.NotFound) { // destroyed meanwhile
			return err
		}
	}
	return nil
}

// eachArray calls fn with the path of each array of a dataset.
func (s *Server) eachArray(ctx context.Context, d *pool.Dataset, fn func(path string) error) error {
	r, err := s.o.Catalog.Resolve(ctx, address.Address{Pool: d.Pool, Dataset: d.Name})
	if err != nil {
		return err
	}
	epoch, err := r.Epoch(ctx, 0, 0)
	if err != nil {
		return err
	}
	in := array.Open(r.Store, d.Address())
	o := array.ListOptions{Recursive: true, Limit: 1000}
	for more := true; more; {
		var nodes []*array.Node
		if nodes, more, err = in.List(ctx, epoch, "", o); err != nil {
			return err
		}
		for _, n := range nodes {
			o.After = n.Path
			if n.Spec == nil {
				continue
			}
			if err := fn(n.Path); err != nil {
				return err
			}
		}
	}
	return nil
}

// tableSchema is the columns of a table as a scan gives them; none for a tensor
// dataset that has none yet, and for an array whose elements are no column.
func (s *Server) tableSchema(ctx context.Context, table string) ([]byte, error) {
	q, err := s.queries()
	if err != nil {
		return nil, err
	}
	t, err := q.Table(ctx, &queryv1.ScanRequest{Dataset: table})
	if fault.Is(err, fault.NotFound, fault.Unsupported) {
		return schemaBytes(arrow.NewSchema(nil, nil))
	}
	if err != nil {
		return nil, err
	}
	w, err := columnar.NewRowWriter(t.Source.Schema())
	if err != nil {
		return nil, err
	}
	return schemaBytes(w.Schema())
}

// like compiles a pattern with % and _; a backslash takes the meaning from what
// follows it. Without one everything matches.
func like(pattern *string) (func(string) bool, error) {
	if pattern == nil {
		return func(string) bool { return true }, nil
	}
	if len(*pattern) > 1000 {
		return nil, fault.New(fault.TooBig, "flight.sql", clip(*pattern), "a pattern of %d bytes, at most 1000 are taken", len(*pattern))
	}
	var text strings.Builder
	quoted := false
	for _, r := range *pattern {
		switch {
		case !quoted && r == '\\':
			quoted = true
			continue
		case !quoted && r == '%':
			text.WriteString(".*")
		case !quoted && r == '_':
			text.WriteString(".")
		default:
			text.WriteString(regexp.QuoteMeta(string(r)))
		}
		quoted = false
	}
	re, err := regexp.Compile("(?s)^" + text.String() + "$")
	if err != nil {
		return nil, fault.New(fault.Invalid, "flight.sql", clip(*pattern), "the pattern can't be read").Because(err)
	}
	return re.MatchString, nil
}

// sqlInfos says what this server is, of all there is to say or of what is asked
// for; what is not known is left out.
func sqlInfos(ctx context.Context, of *flightpb.CommandGetSqlInfo) (arrow.Record, error) {
	known := map[flightsql.SqlInfo]any{
		flightsql.SqlInfoFlightSqlServerName:         "daos",
		flightsql.SqlInfoFlightSqlServerVersion:      version.Version,
		flightsql.SqlInfoFlightSqlServerArrowVersion: arrow.PkgVersion,
		flightsql.SqlInfoFlightSqlServerReadOnly:     true,
		flightsql.SqlInfoFlightSqlServerSql:          true,
		flightsql.SqlInfoFlightSqlServerSubstrait:    false,
		flightsql.SqlInfoFlightSqlServerTransaction:  int32(flightpb.SqlSupportedTransaction_SQL_SUPPORTED_TRANSACTION_NONE),
		flightsql.SqlInfoFlightSqlServerCancel:       true,
		flightsql.SqlInfoIdentifierCase:              int32(flightpb.SqlSupportedCaseSensitivity_SQL_CASE_SENSITIVITY_CASE_INSENSITIVE),
		flightsql.SqlInfoIdentifierQuoteChar:         `"`,
	}
	var base flightsql.BaseServer
	var all []uint32
	for id, v := range known {
		if err := base.RegisterSqlInfo(id, v); err != nil {
			return nil, err
		}
		all = append(all, uint32(id))
	}
	slices.Sort(all)
	if want := of.GetInfo(); len(want) > 0 {
		all = slices.DeleteFunc(all, func(id uint32) bool { return !slices.Contains(want, id) })
	}
	if len(all) == 0 {
		b := arrowarray.NewRecordBuilder(memory.DefaultAllocator, schema_ref.SqlInfo)
		defer b.Release()
		return b.NewRecord(), nil
	}
	_, chunks, err := base.DoGetSqlInfo(ctx, &flightpb.CommandGetSqlInfo{Info: all})
	if err != nil {
		return nil, err
	}
	c := <-chunks
	return c.Data, c.Err
}
