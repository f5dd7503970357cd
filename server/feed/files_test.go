package feed_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"daos/engine/object"
	"daos/internal/feedframe"
	feedv1 "daos/proto/gen/daos/feed/v1"
	posixv1 "daos/proto/gen/daos/posix/v1"
	"daos/server/auth"
	"daos/server/feed"
	"daos/server/wire"
)

// lentFile is a file that others may get.
type lentFile struct{ file }

func (f *lentFile) Lend() (int, bool) { return int(f.Fd()), true }

// stored is a service whose answers lie in files, as many as Seen says, one piece
// of Inode bytes in each in turn; with Epoch 1 the second piece is in memory. With
// Epoch 2 it has rows of Length bytes, Seen of them, Inode bytes apart, in 4 pieces.
type stored struct {
	posixv1.UnimplementedPosixServiceServer
	files []*lentFile
	data  []byte
}

func (p *stored) Read(ctx context.Context, r *posixv1.ReadRequest) (*posixv1.ReadResponse, error) {
	out, step := wire.RegionsOf(ctx), r.GetInode()
	if r.GetEpoch() == 2 {
		if out.Rows != (object.RowLimits{}) != (r.GetDataset() == "rows") {
			return nil, fmt.Errorf("rows within %+v are wanted", out.Rows)
		}
		for i := range uint64(4) {
			f := p.files[i%2]
			f.held.Add(1)
			from := r.GetOffset() + i
			rows := p.data[from : from+(r.GetSeen()-1)*step+r.GetLength()]
			out.AddRows(rows, f, int64(from), int(r.GetLength()), int(step))
		}
		return &posixv1.ReadResponse{Size: uint64(len(p.data))}, nil
	}
	for i, off := 0, r.GetOffset(); off < r.GetOffset()+r.GetLength(); i++ {
		n := min(r.GetOffset()+r.GetLength()-off, step)
		if r.GetEpoch() == 1 && i == 1 {
			out.Add(p.data[off : off+n])
		} else {
			f := p.files[i%int(r.GetSeen())]
			f.held.Add(1)
			out.AddFile(f, int64(off), int(n))
		}
		off += n
	}
	return &posixv1.ReadResponse{Size: uint64(len(p.data))}, nil
}

// raw says HELLO with features and returns what was granted.
func raw(t *testing.T, address string, features ...string) (net.Conn, []string) {
	t.Helper()
	network, address := "tcp", address
	if rest, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", rest
	}
	nc, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	meta, err := proto.Marshal(&feedv1.Hello{Version: 1, Token: token, Features: features})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Write(frame(feedframe.Header{Kind: feedframe.Hello}, meta, nil)); err != nil {
		t.Fatal(err)
	}
	h, body := next(t, nc)
	var reply feedv1.HelloReply
	if err := proto.Unmarshal(body, &reply); err != nil || h.Kind != feedframe.HelloReply {
		t.Fatal(h, err)
	}
	return nc, reply.GetFeatures()
}

// taken receives an answer, wherever it lies; lent says whether it lay in files.
func taken(t *testing.T, nc net.Conn) (data []byte, lent bool) {
	t.Helper()
	u := nc.(*net.UnixConn)
	var b [64]byte
	oob := make([]byte, unix.CmsgSpace(4*feedframe.MaxFiles))
	n, oobn, _, _, err := u.ReadMsgUnix(b[:], oob)
	if err != nil || n != len(b) {
		t.Fatal(n, err)
	}
	h, err := feedframe.Parse(b[:])
	if err != nil || h.Kind != feedframe.Reply {
		t.Fatal(h, err)
	}
	read := func(n int) []byte {
		b := make([]byte, n)
		for at := 0; at < n; {
			k, err := u.Read(b[at:])
			if err != nil {
				t.Fatal(err)
			}
			at += k
		}
		return b
	}
	read(feedframe.Padded(int(h.MetaLen)))
	if h.Flags&feedframe.Files == 0 {
		if oobn != 0 {
			t.Fatal("descriptors came with an answer in the stream")
		}
		return read(int(h.PayloadLen)), false
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		t.Fatal(msgs, err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		t.Fatal(err)
	}
	places, err := feedframe.ParsePlaces(read(feedframe.Padded(int(h.Slot)*feedframe.PlaceSize)), int(h.Slot), len(fds), h.PayloadLen)
	if err != nil {
		t.Fatal(err)
	}
	inline := make(map[int][]byte)
	for i, p := range places {
		if p.File == feedframe.PlaceInline {
			inline[i] = read(int(p.Len))
		}
	}
	for i, p := range places {
		if p.File == feedframe.PlaceInline {
			data = append(data, inline[i]...)
			continue
		}
		for k := range uint64(max(p.Rows, 1)) {
			b := make([]byte, p.Len)
			if n, err := unix.Pread(fds[p.File], b, int64(p.Off+k*p.Stride)); n != len(b) || err != nil {
				t.Fatal(n, err)
			}
			data = append(data, b...)
		}
	}
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	return data, true
}

func newStored(t *testing.T, files int) *stored {
	t.Helper()
	p := &stored{data: make([]byte, 3<<20)}
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range p.data {
		p.data[i] = byte(rng.Uint32())
	}
	for i := range files {
		name := filepath.Join(t.TempDir(), string(rune('a'+i)))
		if err := os.WriteFile(name, p.data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		p.files = append(p.files, &lentFile{file{File: f}})
	}
	return p
}

// nobodyHolds closes the server and fails where a file of an answer is still held.
func (p *stored) nobodyHolds(t *testing.T, r *rig) {
	t.Helper()
	r.Close()
	r.awaitIdle(t)
	for i, f := range p.files {
		if n := f.held.Load(); n != 0 {
			t.Errorf("file %d has %d holders", i, n)
		}
	}
}

// TestFiles_AnswersThatLieInFiles looks at which answers a client reads itself:
// those of whoever has asked for it, large, in few pieces, all in files.
func TestFiles_AnswersThatLieInFiles(t *testing.T) {
	p := newStored(t, feedframe.MaxFiles+1)
	r := start(t, "unix", func(o *feed.Options) {
		o.Registrar = feed.NewRegistrar()
		posixv1.RegisterPosixServiceServer(o.Registrar, p)
	})
	nc, granted := raw(t, r.address, "slots", feedframe.FeatureFiles)
	if !slices.Equal(granted, []string{feedframe.FeatureFiles}) {
		t.Fatal(granted)
	}
	old, granted := raw(t, r.address)
	if len(granted) != 0 {
		t.Fatal(granted)
	}
	id := uint64(0)
	for _, c := range []struct {
		off, n, step, mixed uint64
		files               int
		lent                bool
	}{
		{5, 1 << 20, 1 << 20, 0, 1, true},
		{12345, 2<<20 + 77, 100_000, 0, 2, true},
		{0, 3 << 20, 200_000, 0, feedframe.MaxFiles, true},
		{0, 3 << 20, 100_000, 0, feedframe.MaxFiles + 1, false}, // too many files
		{7, 1 << 20, 60_000, 1, 2, true},                        // a small part in memory
		{7, 1 << 20, 70_000, 1, 2, false},                       // not so small
		{7, 400_000, 60_000, 1, 2, false},                       // small, but much of it
		{7, 1 << 20, 4000, 0, 2, false},                         // in too small pieces
		{7, 100_000, 100_000, 0, 1, false},                      // too small
	} {
		for _, nc := range []net.Conn{nc, old} {
			id++
			m := &posixv1.ReadRequest{Offset: c.off, Length: c.n, Inode: c.step, Epoch: c.mixed, Seen: uint64(c.files)}
			if _, err := nc.Write(callFrame(id, "/daos.posix.v1.PosixService/Read", m, 0, nil)); err != nil {
				t.Fatal(err)
			}
			got, lent := taken(t, nc)
			if !bytes.Equal(got, p.data[c.off:c.off+c.n]) {
				t.Fatalf("%+v: %d bytes that differ", c, len(got))
			}
			if want := c.lent && nc != old; lent != want {
				t.Errorf("%+v: lent %v, want %v", c, lent, want)
			}
		}
	}
	_ = nc.Close()
	_ = old.Close()
	p.nobodyHolds(t, r)
}

// TestFiles_Rows looks at answers in rows: who takes them gets them as such, also
// where they lie side by side, and whoever else gets the bytes.
func TestFiles_Rows(t *testing.T) {
	p := newStored(t, 2)
	r := start(t, "unix", func(o *feed.Options) {
		o.Registrar = feed.NewRegistrar()
		posixv1.RegisterPosixServiceServer(o.Registrar, p)
	})
	both, granted := raw(t, r.address, feedframe.FeatureRows, feedframe.FeatureFiles)
	if !slices.Equal(granted, []string{feedframe.FeatureFiles, feedframe.FeatureRows}) {
		t.Fatal(granted)
	}
	files, _ := raw(t, r.address, feedframe.FeatureFiles)
	if _, granted := raw(t, r.address, feedframe.FeatureRows); len(granted) != 0 {
		t.Error("rows without files:", granted)
	}
	for id, c := range []struct{ off, row, rows, stride uint64 }{
		{5, 2000, 500, 4096},
		{0, 100_000, 7, 100_001},
		{9, 4000, 100, 4000},
		{1, 300_000, 1, 300_000},
		{77, 100, 10, 3000}, // too small to lie in files
	} {
		var want []byte
		for i := range uint64(4) {
			for k := range c.rows {
				at := c.off + i + k*c.stride
				want = append(want, p.data[at:at+c.row]...)
			}
		}
		for nc, name := range map[net.Conn]string{both: "rows", files: "files"} {
			m := &posixv1.ReadRequest{Dataset: name, Offset: c.off, Length: c.row, Inode: c.stride, Epoch: 2, Seen: c.rows}
			if _, err := nc.Write(callFrame(uint64(id+1), "/daos.posix.v1.PosixService/Read", m, 0, nil)); err != nil {
				t.Fatal(err)
			}
			got, lent := taken(t, nc)
			if !bytes.Equal(got, want) {
				t.Fatalf("%+v to %s: %d bytes that differ", c, name, len(got))
			}
			apart := c.rows > 1 && c.stride > c.row
			if lent != (len(want) > 128<<10 && (name == "rows" || !apart)) {
				t.Errorf("%+v to %s: lent %v", c, name, lent)
			}
		}
	}
	_ = both.Close()
	_ = files.Close()
	p.nobodyHolds(t, r)
}

// TestFiles_OnlyForTheServersUser: neither over TCP nor to another user.
func TestFiles_OnlyForTheServersUser(t *testing.T) {
	if _, granted := raw(t, start(t, "tcp", nil).address, feedframe.FeatureFiles); len(granted) != 0 {
		t.Error("over TCP:", granted)
	}
	other := start(t, "unix", func(o *feed.Options) {
		a, err := auth.New(token, uint32(os.Getuid())+1)
		if err != nil {
			t.Fatal(err)
		}
		o.Auth = a
	})
	if _, granted := raw(t, other.address, feedframe.FeatureFiles); len(granted) != 0 {
		t.Error("to another user:", granted)
	}
}

// TestFiles_AClientThatTakesNothing asks for more answers with descriptors than may
// be under way, takes none of them for a while, then all.
func TestFiles_AClientThatTakesNothing(t *testing.T) {
	p := newStored(t, feedframe.MaxFiles)
	r := start(t, "unix", func(o *feed.Options) {
		o.Registrar = feed.NewRegistrar()
		posixv1.RegisterPosixServiceServer(o.Registrar, p)
	})
	nc, _ := raw(t, r.address, feedframe.FeatureFiles)
	const calls = 200
	wrote := make(chan error, 1)
	go func() {
		for id := range uint64(calls) {
			m := &posixv1.ReadRequest{Length: 1 << 20, Inode: 1 << 16, Seen: feedframe.MaxFiles}
			if _, err := nc.Write(callFrame(id+1, "/daos.posix.v1.PosixService/Read", m, 0, nil)); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	for i := range calls {
		if got, _ := taken(t, nc); !bytes.Equal(got, p.data[:1<<20]) {
			t.Fatalf("answer %d differs", i)
		}
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
}
