// Package duck runs SQL with DuckDB. It is the only package with cgo, and is
// linked into the child process that runs one statement (internal/sqlworker),
// never used by the process that stores: a crash in here ends one query.
//
// A DB is an empty database in memory with hardened settings: no files, no
// network, no extensions, no changes of settings. What it reads are Tables,
// which are handed in by handle and become rows of one table function. DuckDB
// asks for the columns that it needs; it evaluates every condition itself. An
// ArrowTable has columns of any type, nested ones too.
//
// The bridge copies values into DuckDB's vectors. duckdb_arrow_scan is not used:
// it promises to apply filters that a stream ignores, and gives wrong rows (a
// test keeps the case).
//
// Start at Open.
package duck
