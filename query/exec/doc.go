// Package exec evaluates scans next to the data: it reads the parts of a table
// side by side, drops chunks by their statistics before anything of them is
// read, reads the columns of the predicate first and others only for the rows
// that survive, and hands out rows, groups, the first k rows of an order or a
// reproducible sample.
//
// What comes out is a function of the table at its epoch and of the Request
// alone, in the order of the table (groups: of their keys; top k: of the order;
// samples: of the table), however many cores take part: a retry gives the same
// rows. Memory is bounded by what a Request says, not by the table.
//
// It knows nothing of datasets: a Source is the table (query/source has one for
// each type). It is not SQL and has no joins.
//
// Start at Request and Open.
package exec
