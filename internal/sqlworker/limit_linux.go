//go:build cgo

package sqlworker

import (
	"runtime/debug"
	"syscall"
)

// spare is what this process may hold beside what DuckDB may: its own heap, with
// what is decoded of Parquet files, and the stacks of threads.
const spare = 2 << 30

// limitMemory bounds the memory of this process, whatever a statement or a file
// makes a library do. The system refuses more, and the process ends; the server
// says so.
func limitMemory(statement uint64) {
	debug.SetMemoryLimit(spare / 2) // collect before it comes to that
	debug.SetGCPercent(800)         // and else seldom: most statements end before it is worth it
	most := syscall.Rlimit{Cur: statement + spare, Max: statement + spare}
	_ = syscall.Setrlimit(syscall.RLIMIT_DATA, &most) // refused: a lower one is set already
}
