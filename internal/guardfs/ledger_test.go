package guardfs

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/internal/fault"
)

// A synced log that lost a bit, or its end, is told from one that a crash tore.
func TestLedgerTellsDamageFromATornEnd(t *testing.T) {
	write := func(mem *vfs.MemFS, name string, b []byte) {
		t.Helper()
		f, err := mem.Create(name, "test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]struct {
		content string
		want    bool
	}{
		"untouched":      {"acknowledged, not synced", false},
		"torn end":       {"acknowledged, no", false},
		"flipped":        {"acknowledgeD, not synced", true},
		"cut too short":  {"acknowl", true},
		"replaced whole": {"something else of the same length", true},
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			g := New(mem, "target")
			if err := g.OpenLedger("", ""); err != nil {
				t.Fatal(err)
			}
			f, err := g.Create("000001.log", "test")
			if err != nil {
				t.Fatal(err)
			}
			for i, part := range []string{"acknowledged", ", not synced"} {
				if _, err := f.Write([]byte(part)); err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					if err := f.Sync(); err != nil {
						t.Fatal(err)
					}
				}
			}
			g.CloseLedger()
			write(mem, "000001.log", []byte(damage.content))
			err = New(mem, "target").OpenLedger("", "")
			if damage.want != fault.Is(err, fault.Corrupt) || damage.want && !strings.Contains(err.Error(), "000001.log") {
				t.Fatalf("damaged %v, reported: %v", damage.want, err)
			}
			if !damage.want && err != nil {
				t.Fatal(err)
			}
		})
	}
}

func FuzzDecodeLedger(f *testing.F) {
	f.Add(encodeLedger(1, []ledgerRow{{"000001.log", 5, 6}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		seq, rows, ok := decodeLedger(b)
		if ok && len(rows) <= ledgerRows {
			if s, r, again := decodeLedger(encodeLedger(seq, rows)); !again || s != seq || len(r) != len(rows) {
				t.Fatalf("%d rows at %d do not survive a round trip", len(rows), seq)
			}
		}
	})
}
