package exec

import (
	"context"

	"daos/query/expr"
)

// Source is a table at one epoch.
type Source interface {
	// Name says which, for errors: "p/t@s1".
	Name() string
	// Schema is its columns.
	Schema() expr.Schema
	// Key is the place of the column that tells rows apart: samples are drawn
	// by it.
	Key() int
	// Split is the parts that may be scanned side by side, in the order of the
	// table; together they are all of it. A source may leave out what a
	// predicate can't match (it sees the conjuncts that were bound), never more;
	// columns are the places of all that may be read, so that a chunk can be cut to
	// a size that fits memory.
	Split(ctx context.Context, where expr.Expr, columns []int, want int) ([]Part, error)
}

// Part is a piece of a table, read by one goroutine.
type Part interface {
	// Next is the next chunk, io.EOF after the last. What it returned before
	// is no longer used.
	Next(ctx context.Context) (Chunk, error)
	// Close gives back what the part holds.
	Close()
}

// Chunk is some rows that lie together.
type Chunk interface {
	Rows() int
	// Stats are by place in the schema; nil: nothing is known.
	Stats() []expr.Stats
	// Read reads columns, by place: the vectors of all rows, or of those named,
	// ascending. They are good until the part's next chunk.
	Read(ctx context.Context, columns []int, rows []uint32) ([]expr.Vector, error)
}

// Counters say what a scan did.
type Counters struct {
	Chunks      uint64 // of the table
	Pruned      uint64 // dropped by statistics or key order, unread
	Read        uint64
	RowsScanned uint64 // rows that a predicate was evaluated for, or that were taken unseen
	RowsMatched uint64
	RowsOut     uint64
	BytesRead   uint64 // of columns, as they lie in memory
	BytesOut    uint64
}

// Add sums two.
func (c *Counters) Add(o Counters) {
	c.Chunks += o.Chunks
	c.Pruned += o.Pruned
	c.Read += o.Read
	c.RowsScanned += o.RowsScanned
	c.RowsMatched += o.RowsMatched
	c.RowsOut += o.RowsOut
	c.BytesRead += o.BytesRead
	c.BytesOut += o.BytesOut
}

// ScannedCounter is an ability of a Part that filters by itself: the rows that
// it has looked at since it was asked last.
type ScannedCounter interface{ ScannedRows() uint64 }

// Placed is an ability of a Part: what it is of the table, so that two splits
// can be told apart. It is asked before the first Next.
type Placed interface{ Place() []byte }
