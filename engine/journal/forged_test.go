package journal_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"daos/engine/journal"
	"daos/internal/fault"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// forged is the first record of a group, made by somebody who knows the format
// and all but the salt.
func forged(generation uint64, salted bool, target uint16, number uint64, payload string) []byte {
	start := binary.LittleEndian.AppendUint64(nil, generation)
	if salted {
		start = binary.LittleEndian.AppendUint64(start, 0)
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum([]byte(payload), castagnoli))
	b = binary.LittleEndian.AppendUint64(b, number)
	b = binary.LittleEndian.AppendUint32(b, uint32(target)|1<<31)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(append(start, b...), castagnoli))
	return append(b, payload...)
}

// everyBlock is a user's value with a forged record wherever a block begins, if
// it is written at so many bytes behind the beginning of one.
func everyBlock(record []byte, at, blocks int) []byte {
	b := bytes.Repeat([]byte{'u'}, 4096*blocks)
	for i := 4096 - at; i+len(record) < len(b); i += 4096 {
		copy(b[i:], record)
	}
	return b
}

// TestForgedInATornGroup: what a user has written into a group is no record of
// the journal's, also when the group is torn.
func TestForgedInATornGroup(t *testing.T) {
	for name, salted := range map[string]bool{"with a salt": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			l := start(t, options(mem, 64<<10, nil))
			value := everyBlock(forged(1, salted, 0, 2, "forged"), 24+10+24, 4)
			waits := []*journal.Group{add(t, l, 0, 1, make([]byte, 10)), add(t, l, 0, 2, value)}
			for _, g := range waits {
				if err := g.Wait(); err != nil {
					t.Fatal(err)
				}
			}
			file := "/j/0000000000000001.log"
			b := content(t, mem, file)
			if !bytes.Contains(b[8192:8192+30], []byte("forged")) {
				t.Fatal("the forged record does not begin a block")
			}
			b[4096+24+10+24+len(value)-1] ^= 1 // the tear
			disk := vfs.NewMem()
			if err := disk.MkdirAll("/j", 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, disk, file, b)
			after, err := journal.Open(options(disk, 0, nil))
			if err != nil {
				t.Fatal(err)
			}
			if got := replayed(t, after, 0, 0); len(got) != 1 {
				t.Fatalf("%d records, the last is %.20q", len(got), got[len(got)-1].payload)
			}
		})
	}
}

// TestForgedInAnEarlierUse: a file is used again with what a user had written
// into it, for the generation that it has then.
func TestForgedInAnEarlierUse(t *testing.T) {
	for name, salted := range map[string]bool{"with a salt": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			l := start(t, options(mem, 64<<10, nil))
			number := uint64(1)
			value := everyBlock(forged(3, salted, 5, 1, "forged"), 24, 12)
			if err := add(t, l, 0, number, value).Wait(); err != nil {
				t.Fatal(err)
			}
			third := func() bool { // its header is written before its first record
				names, err := mem.List("/j")
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(strings.Join(names, " "), "0000000000000003.log") {
					return false
				}
				return binary.LittleEndian.Uint64(content(t, mem, "/j/0000000000000003.log")[12:]) == 3
			}
			for deadline := time.Now().Add(20 * time.Second); !third(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the file was not used again")
				}
				if g := l.Append(0, number+1, make([]byte, 8000)); g != nil {
					number++
					if err := g.Wait(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if b := content(t, mem, "/j/0000000000000003.log"); !bytes.Contains(b[8192:8192+30], []byte("forged")) {
				t.Fatal("the file has lost what it had")
			}
			after, err := journal.Open(options(mem, 0, nil))
			if err != nil {
				t.Fatal(err)
			}
			if got := replayed(t, after, 5, 0); got != nil {
				t.Fatalf("a target that wrote nothing has %+v", got)
			}
			if err := l.Close(false); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestVersion1 has the bytes of a file that was written before there was a salt.
func TestVersion1(t *testing.T) {
	head, err := hex.DecodeString("44414f534a4e4c0a" + "01000000" + "0100000000000000" + "6ef3312c")
	if err != nil {
		t.Fatal(err)
	}
	record, err := hex.DecodeString("05000000" + "2f73562f" + "0201000000000000" + "02000080" + "8c96dc60" + "6261746368")
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64<<10)
	copy(b, head)
	copy(b[4096:], record)
	mem := vfs.NewMem()
	if err := mem.MkdirAll("/j", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, mem, "/j/0000000000000001.log", b)
	l, err := journal.Open(options(mem, 0, nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := replayed(t, l, 2, 0); len(got) != 1 || got[0] != (entry{0x0102, "batch"}) {
		t.Fatalf("%+v", got)
	}
	copy(b[8:], "\x03\x00\x00\x00") // a version to come
	binary.LittleEndian.PutUint32(b[20:], crc32.Checksum(b[:20], castagnoli))
	write(t, mem, "/j/0000000000000001.log", b)
	if l, err = journal.Open(options(mem, 0, nil)); err != nil {
		t.Fatal(err)
	}
	if err := l.Replay(2, 0, nil); !fault.Is(err, fault.Unsupported) {
		t.Fatalf("version 3: %v", err)
	}
}
