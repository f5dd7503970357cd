// Package sql takes SQL apart: it finds the datasets that a statement names,
// lifts out of it what can be evaluated next to the data, and puts in the place
// of each dataset a call of a table function that reads it.
//
// The statement comes and goes as the JSON tree of DuckDB (json_serialize_sql,
// version 1.5): there is no parser and no planner of ours. DuckDB checks every
// condition again, so a scan may give more rows than match, never fewer: what is
// not understood lifts nothing, and nothing is lifted from the side of an outer
// join that is filled up with NULLs, past a sample, or where a name could mean
// something else.
//
// What FROM calls is a table too: table functions (Functions), whose arguments are
// read here, and tables of the server (SystemTables).
//
// It is pure; query/sql/duck runs statements.
//
// Start at Rewrite.
package sql

// ScanFunction is the table function that a dataset becomes; its argument is the
// Handle of a Ref.
const ScanFunction = "daos_scan"
