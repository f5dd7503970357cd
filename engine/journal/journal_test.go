package journal_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"daos/engine/journal"
	"daos/internal/fault"
)

func options(f vfs.FS, size int64, checkpoint func() error) journal.Options {
	if checkpoint == nil {
		checkpoint = func() error { return nil }
	}
	all := func() ([]uint16, error) { return nil, checkpoint() }
	return journal.Options{
		FS: f, Dir: "/j", Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Size: size, Create: true, Checkpoint: all,
	}
}

func start(t *testing.T, o journal.Options) *journal.Log {
	t.Helper()
	l, err := journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	return l
}

// add appends until there is room, as a target does with its next batch.
func add(t *testing.T, l *journal.Log, target uint16, number uint64, payload []byte) *journal.Group {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if g := l.Append(target, number, payload); g != nil {
			return g
		}
	}
	t.Fatalf("no room for record %d of target %d", number, target)
	return nil
}

type entry struct {
	number  uint64
	payload string
}

func replayed(t *testing.T, l *journal.Log, target uint16, after uint64) (out []entry) {
	t.Helper()
	err := l.Replay(target, after, func(n uint64, p []byte) error {
		out = append(out, entry{n, string(p)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func payload(target uint16, n uint64) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("<%d.%d>", target, n), 1+int(n%7)))
}

func TestRecordsOfATargetComeBackInOrder(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l := start(t, options(mem, 0, nil))
	for n := uint64(1); n <= 100; n++ {
		a, b := add(t, l, 0, n, payload(0, n)), add(t, l, 3, n, payload(3, n))
		if err := a.Wait(); err != nil {
			t.Fatal(err)
		}
		if err := b.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	after, err := journal.Open(options(mem.CrashClone(vfs.CrashCloneCfg{}), 0, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []uint16{0, 3} {
		got := replayed(t, after, target, 40)
		if len(got) != 60 {
			t.Fatalf("target %d: %d records, want those from 41 to 100", target, len(got))
		}
		for i, e := range got {
			if n := uint64(41 + i); e.number != n || e.payload != string(payload(target, n)) {
				t.Fatalf("target %d: record %d is %+v", target, n, e)
			}
		}
	}
	if got := replayed(t, after, 1, 0); got != nil {
		t.Fatalf("a target that wrote nothing has %d records", len(got))
	}
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
	names, err := mem.List("/j")
	if err != nil || strings.Contains(strings.Join(names, " "), ".log") {
		t.Fatalf("after a clean end there are %q, %v", names, err)
	}
}

// TestFilesTakeTurns: what a checkpoint has not yet covered is always there.
func TestFilesTakeTurns(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var appended, kept atomic.Uint64
	var checkpoints atomic.Int64
	o := options(mem, 40<<10, func() error {
		checkpoints.Add(1)
		kept.Store(appended.Load())
		return nil
	})
	l := start(t, o)
	for n := uint64(1); n <= 2000; n++ {
		g := add(t, l, 7, n, payload(7, n))
		appended.Store(n)
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if n%97 != 0 {
			continue
		}
		disk := mem.CrashClone(vfs.CrashCloneCfg{})
		have := kept.Load() // not before: a file may be free by then
		again, err := journal.Open(options(disk, 40<<10, nil))
		if err != nil {
			t.Fatal(err)
		}
		got := replayed(t, again, 7, have)
		if uint64(len(got)) != n-have {
			t.Fatalf("with %d in the indexes and %d written the journal has %d records", have, n, len(got))
		}
	}
	if checkpoints.Load() < 10 {
		t.Fatalf("only %d checkpoints", checkpoints.Load())
	}
	if err := l.Close(false); err != nil {
		t.Fatal(err)
	}
}

// TestAnsweredStays cuts the power while many write, with parts of what was not
// synced left on the disk.
func TestAnsweredStays(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	mem := vfs.NewCrashableMem()
	l := start(t, options(mem, 0, nil))
	const targets, each = 4, 60 // no more than one file holds
	var acked [targets]atomic.Uint64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range uint16(targets) {
		wg.Go(func() {
			for n := uint64(1); n <= each; n++ {
				if err := add(t, l, i, n, payload(i, n)).Wait(); err != nil {
					t.Error(err)
					return
				}
				acked[i].Store(n)
			}
		})
	}
	go func() { wg.Wait(); close(stop) }()
	cuts := 0
	for done := false; !done; cuts++ {
		select {
		case <-stop:
			done = true
		case <-time.After(100 * time.Microsecond):
		}
		var promised [targets]uint64
		for i := range promised {
			promised[i] = acked[i].Load()
		}
		disk := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		again, err := journal.Open(options(disk, 0, nil))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range promised {
			got := replayed(t, again, uint16(i), 0)
			if want > 0 && (len(got) == 0 || got[len(got)-1].number < want) {
				t.Fatalf("target %d: %d was answered, %d records are there", i, want, len(got))
			}
			for _, e := range got {
				if e.payload != string(payload(uint16(i), e.number)) {
					t.Fatalf("target %d: record %d has other bytes", i, e.number)
				}
			}
		}
	}
	t.Logf("%d power losses", cuts)
	if err := l.Close(false); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsTooLongOrHasNoRoomIsRefused(t *testing.T) {
	hold := make(chan struct{})
	l := start(t, options(vfs.NewMem(), 16<<10, func() error { <-hold; return nil }))
	if g := l.Append(0, 1, make([]byte, journal.MaxPayload+1)); g != nil {
		t.Fatal("a record beyond MaxPayload was taken")
	}
	n := uint64(0)
	for full := 0; full < 2; {
		g := l.Append(0, n+1, make([]byte, 500))
		if g == nil {
			// Both files are full once the second was begun.
			if n > 4 {
				full++
			}
			time.Sleep(time.Millisecond)
			continue
		}
		n++
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if l.NoRoom() < 2 {
		t.Fatalf("%d records found no room", l.NoRoom())
	}
	close(hold)
	if err := add(t, l, 0, n+1, make([]byte, 500)).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(true); err != nil {
		t.Fatal(err)
	}
}

// TestDamage: a synced record that does not verify is damage, not a torn end;
// one that is missing between two others, too.
func TestDamage(t *testing.T) {
	mem := vfs.NewCrashableMem()
	l := start(t, options(mem, 0, nil))
	for n := uint64(1); n <= 5; n++ {
		if err := add(t, l, 1, n, payload(1, n)).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	flipped := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	name := "/j/0000000000000001.log"
	f, err := flipped.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, 4096+30); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open(options(flipped, 0, nil)); !fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), name) {
		t.Fatalf("a flipped byte: %v", err)
	}
	for _, n := range []uint64{9, 11} {
		if err := add(t, l, 2, n, payload(2, n)).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	gap, err := journal.Open(options(mem.CrashClone(vfs.CrashCloneCfg{}), 0, nil))
	if err != nil {
		t.Fatal(err)
	}
	err = gap.Replay(2, 0, func(uint64, []byte) error { return nil })
	if !fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), "goes on at 11") {
		t.Fatalf("a gap: %v", err)
	}
	o := options(mem, 0, nil)
	o.Dir, o.Create = "/other", false
	if _, err := journal.Open(o); !fault.Is(err, fault.Corrupt) {
		t.Fatalf("without its folder: %v", err)
	}
}

// TestSalvage: a file that stays for a target that has stopped leaves numbers out
// for the others. A target that has its index lacks none of them; for one that has
// lost it there is what is there.
func TestSalvage(t *testing.T) {
	mem := vfs.NewMem()
	o := options(mem, 16<<10, nil)
	o.Checkpoint = func() ([]uint16, error) { return []uint16{1}, nil }
	l := start(t, o)
	if err := add(t, l, 1, 1, payload(1, 1)).Wait(); err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	for turns := false; !turns; {
		n++
		if err := add(t, l, 0, n, payload(0, n)).Wait(); err != nil {
			t.Fatal(err)
		}
		names, err := mem.List("/j")
		if err != nil {
			t.Fatal(err)
		}
		turns = slices.Contains(names, "0000000000000006.log")
	}
	if err := l.Close(false); err != nil {
		t.Fatal(err)
	}
	again, err := journal.Open(options(mem, 16<<10, nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := replayed(t, again, 0, n-1); len(got) != 1 {
		t.Fatalf("%d records behind an index with all but one", len(got))
	}
	if err := again.Replay(0, 0, func(uint64, []byte) error { return nil }); !fault.Is(err, fault.Corrupt) {
		t.Fatalf("numbers that are missing: %v", err)
	}
	var got []uint64
	err = again.Salvage(0, func(number uint64, p []byte) error {
		if string(p) != string(payload(0, number)) {
			t.Errorf("record %d has other bytes", number)
		}
		got = append(got, number)
		return nil
	})
	if err != nil || !slices.IsSorted(got) || len(got) < 2 || got[0] != 1 || got[len(got)-1] != n || uint64(len(got)) == n {
		t.Fatalf("%v, %v", got, err)
	}
}

// TestFailedSync: everybody who waits hears of it, and nothing is taken after.
func TestFailedSync(t *testing.T) {
	var fail atomic.Bool
	inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fail.Load() && (op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync) {
			return errorfs.ErrInjected
		}
		return nil
	})
	l := start(t, options(errorfs.Wrap(vfs.NewMem(), inject), 0, nil))
	if err := add(t, l, 0, 1, []byte("x")).Wait(); err != nil {
		t.Fatal(err)
	}
	fail.Store(true)
	a, b := add(t, l, 0, 2, []byte("y")), add(t, l, 1, 1, []byte("z"))
	if a.Wait() == nil || b.Wait() == nil {
		t.Fatal("a failed sync was not reported")
	}
	if g := l.Append(0, 3, []byte("w")); g != nil {
		t.Fatal("a stopped journal takes records")
	}
	_ = l.Close(true)
}

// TestGoldenBytes pins the format: docs/format/journal.md.
func TestGoldenBytes(t *testing.T) {
	mem := vfs.NewMem()
	l := start(t, options(mem, 0, nil))
	if err := add(t, l, 2, 0x0102, []byte("batch")).Wait(); err != nil {
		t.Fatal(err)
	}
	f, err := mem.Open("/j/0000000000000001.log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	salt := b[24:32]
	start := append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, salt...)
	sum := crc32.Checksum([]byte("batch"), castagnoli) ^ binary.LittleEndian.Uint32(salt[4:])
	record := binary.LittleEndian.AppendUint32([]byte{5, 0, 0, 0}, sum)
	record = append(record, 2, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0x80)
	record = binary.LittleEndian.AppendUint32(record, crc32.Checksum(append(start, record...), castagnoli))
	record = append(record, "batch"...)
	head, err := hex.DecodeString("44414f534a4e4c0a" + "02000000" + "0100000000000000" + "3e8fa37f")
	if err != nil {
		t.Fatal(err)
	}
	head = append(head, salt...)
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	want := append(append(head, make([]byte, 4096-len(head))...), record...)
	if len(b) != 1<<20 || !bytes.Equal(b[:len(want)], want) || bytes.Equal(salt, make([]byte, 8)) {
		t.Fatalf("%d bytes\n%x\n%x", len(b), b[:36], b[4096:len(want)])
	}
	if err := l.Close(false); err != nil {
		t.Fatal(err)
	}
}
