//go:build cgo

package sqlworker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"daos/internal/sqltask"
)

// note is the Parquet files that are open, in a file of the process's folder: what
// is damaged in one can end the process in a goroutine of the decoder, where
// nothing of ours can say which it was. The server reads it then.
type note struct {
	mu    sync.Mutex
	path  string
	names []string // each as often as it is open
}

func newNote(folder string) *note { return &note{path: filepath.Join(folder, sqltask.ReadingFile)} }

// begin notes a file; end takes it away.
func (n *note) begin(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names = append(n.names, name)
	n.write()
}

func (n *note) end(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.names, name); i >= 0 {
		n.names = slices.Delete(n.names, i, i+1)
	}
}

// write is done before a file is read, not behind it: a file that is no longer
// open harms nobody.
func (n *note) write() {
	names := slices.Compact(slices.Sorted(slices.Values(n.names)))
	_ = os.WriteFile(n.path, []byte(strings.Join(names, ", ")), 0o600) // then an error says less
}
