// Package expr is the predicate language of scans: one text form, the same in
// find, in the loader's where=, in Python's scan(where=) and, where it can be
// lifted, in SQL; one tree; one meaning.
//
// The meaning is DuckDB's, since SQL checks every row again and may only be
// spared rows that it would drop: NULL is neither true nor false and a row is
// kept for TRUE alone, NaN is greater than every number and equal to itself,
// -0 equals 0, text is compared byte by byte, LIKE minds the case. What can't be
// given that meaning exactly is refused when the expression is bound, never
// evaluated approximately.
//
// An expression goes through three steps. Parse makes a tree of text (or a
// codec makes it of a message). Bind resolves its names against a Schema and
// checks types; it answers with the nearest name where there is none. A Bound
// predicate then filters batches (Filter), and tells from the statistics of a
// chunk whether any row of it can match (Prune).
//
// It is pure: no I/O, no clock. It knows nothing of datasets; query/exec feeds
// it. It is not SQL: no joins, aggregates or subqueries, see query/sql.
//
// Start at Parse and Bind.
package expr
