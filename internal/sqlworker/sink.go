//go:build cgo

package sqlworker

import (
	"daos/internal/columnar"
	"daos/query/exec"
	"daos/query/expr"
)

const (
	sinkRows  = 1 << 16
	sinkBytes = 4 << 20
)

// sink joins DuckDB's chunks of 2048 rows to record batches.
type sink struct {
	fields expr.Schema
	w      *columnar.RowWriter
	rows   exec.Rows
	send   func(payload []byte, rows int, done bool) error
}

func newSink(s expr.Schema, send func([]byte, int, bool) error) (*sink, error) {
	w, err := columnar.NewRowWriter(s)
	if err != nil {
		return nil, err
	}
	return &sink{fields: s, w: w, rows: exec.Rows{Columns: make([]expr.Vector, len(s))}, send: send}, send(w.Head(), 0, false)
}

func (s *sink) add(r *exec.Rows) error {
	for c := range s.fields {
		exec.Append(&s.fields[c], &s.rows.Columns[c], s.rows.N, &r.Columns[c], r.N)
	}
	s.rows.N += r.N
	if s.rows.N >= sinkRows-2048 || s.rows.Bytes() >= sinkBytes {
		return s.flush()
	}
	return nil
}

func (s *sink) flush() error {
	if s.rows.N == 0 {
		return nil
	}
	payload, err := s.w.Batch(&s.rows)
	if err != nil {
		return err
	}
	n := s.rows.N
	s.rows.N = 0
	for c := range s.rows.Columns { // their memory is used again: what is new costs more than the copy
		v := &s.rows.Columns[c]
		*v = expr.Vector{Values: v.Values[:0], Offsets: v.Offsets[:min(1, len(v.Offsets))]}
	}
	return s.send(payload, n, false)
}
