package vos_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/object"
	"daos/engine/vos"
	"daos/internal/fault"
)

// damaged is a target as kill -9 leaves it: logs, tables and segments, some of
// them open.
func damaged(t *testing.T, rng *rand.Rand) (*vfs.MemFS, *model, object.Epoch) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	o := options(mem, "t")
	o.SegmentCap, o.MemTable = 256<<10, 64<<10
	v, err := vos.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	m := &model{}
	epoch := object.Epoch(100)
	for i := range 60 {
		if i == 40 { // to have tables too
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
			if v, err = vos.Open(o); err != nil {
				t.Fatal(err)
			}
		}
		epoch++
		b := batch(epoch, marker(epoch))
		for range 3 {
			b.Writes = append(b.Writes, placed(randomWrite(rng)))
		}
		prepare(t, v, b)
		m.apply(b)
	}
	clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return clone, m, epoch
}

// files lists all files below dir.
func files(t testing.TB, f vfs.FS, dir string) (out []string) {
	t.Helper()
	names, err := f.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		p := f.PathJoin(dir, n)
		st, err := f.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if st.IsDir() {
			out = append(out, files(t, f, p)...)
		} else {
			out = append(out, p)
		}
	}
	return out
}

func readAll(t testing.TB, f vfs.FS, name string) []byte {
	t.Helper()
	h, err := f.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	b, err := io.ReadAll(h)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeAll(t testing.TB, f vfs.FS, name string, b []byte) {
	t.Helper()
	h, err := f.Create(name, "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Write(append([]byte(nil), b...)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Sync(), h.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestFlip_NoWrongByteIsReturned(t *testing.T) {
	rng := seed(t)
	base, m, epoch := damaged(t, rng)
	found := map[string]int{}
	tried := map[string]int{}
	all := files(t, base, "t")
	newestLog, newestManifest := "", ""
	for _, name := range all {
		switch kindOf(name) {
		case "log":
			newestLog = max(newestLog, name)
		case "manifest":
			newestManifest = max(newestManifest, name)
		}
	}
	perFile := 3 + long()
	for _, name := range all {
		orig := readAll(t, base, name)
		if len(orig) == 0 {
			continue
		}
		kind := kindOf(name)
		n := perFile
		if kind == "log" || kind == "manifest" || kind == "superblock" {
			n *= 3
		}
		for range n {
			f := base.CrashClone(vfs.CrashCloneCfg{})
			b := append([]byte(nil), orig...)
			at, bit := rng.IntN(len(b)), rng.IntN(8)
			b[at] ^= 1 << bit
			writeAll(t, f, name, b)
			tried[kind]++
			err := checkFlipped(f, m, epoch)
			var wrong wrongError
			switch {
			case errors.As(err, &wrong):
				t.Errorf("%s, byte %d of %d, bit %d: %v", name, at, len(b), bit, err)
			case err != nil:
				found[kind]++
				if kind == "segment" && !strings.Contains(err.Error(), "header") && !strings.Contains(err.Error(), "object ") {
					t.Errorf("%s, byte %d of %d, bit %d: the object is not named: %v", name, at, len(b), bit, err)
				}
				if !fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), "t/") {
					t.Errorf("%s, byte %d of %d, bit %d: not reported as damage by name: %v", name, at, len(b), bit, err)
				}
			case name == newestLog || kind == "superblock" || name == newestManifest:
				// Every byte of these counts: the test's log has no tail that
				// was not synced. Older ones may be on their way out.
				t.Errorf("%s, byte %d of %d, bit %d: not noticed", name, at, len(b), bit)
			}
		}
	}
	t.Logf("noticed %v of %v; what was not noticed did no harm", found, tried)
	for _, k := range []string{"log", "manifest", "table", "superblock", "segment"} {
		if found[k] == 0 {
			t.Errorf("no flip in a %s was noticed (%d tried)", k, tried[k])
		}
	}
}

func kindOf(name string) string {
	switch base := name[strings.LastIndex(name, "/")+1:]; {
	case strings.HasSuffix(base, ".log"):
		return "log"
	case strings.HasPrefix(base, "MANIFEST"):
		return "manifest"
	case strings.HasSuffix(base, ".sst"):
		return "table"
	case strings.HasSuffix(base, ".seg"):
		return "segment"
	case base == "superblock":
		return base
	}
	return "other"
}

// wrongError is an answer that is neither right nor an error.
type wrongError struct{ error }

// checkFlipped reads everything; an error that the target reports is returned
// as it is, a wrong answer as wrongError.
func checkFlipped(f vfs.FS, m *model, epoch object.Epoch) error {
	o := options(f, "t")
	o.SegmentCap, o.MemTable = 256<<10, 64<<10
	v, err := vos.Open(o)
	if err != nil {
		return err
	}
	defer func() { _ = v.Close() }()
	var reported error
	if _, err := v.Scrub(context.Background(), testDS, func(e error) { reported = e }); err != nil {
		reported = err
	}
	for _, at := range []object.Epoch{epoch - 20, epoch} {
		if err := checkAt(v, m, at); err != nil {
			if fault.KindOf(err) == fault.Internal { // made by the test
				if reported != nil {
					return wrongError{fmt.Errorf("wrong answer beside a report: %w", err)}
				}
				return wrongError{err}
			}
			return err
		}
	}
	return reported
}
