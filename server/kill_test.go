package server_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"daos/internal/fault"
	commonv1 "daos/proto/gen/daos/common/v1"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	poolv1 "daos/proto/gen/daos/pool/v1"
	posixv1 "daos/proto/gen/daos/posix/v1"
	"daos/server/wire"
)

// writer does appends, renames, snapshots and staged saves in files of its own,
// and repeats whatever was not answered.
type writer struct {
	n        int
	rng      *rand.Rand
	files    posixv1.PosixServiceClient
	datasets datasetv1.DatasetServiceClient

	// What has been answered.
	appended, renamed, saved int
	snapshots                []writerState
}

type writerState struct {
	name                     string
	appended, renamed, saved int
}

func (w *writer) log() []byte        { return fmt.Appendf(nil, "log%d", w.n) }
func (w *writer) moved(k int) []byte { return fmt.Appendf(nil, "moved%d-%d", w.n, k) }
func (w *writer) ckpt() []byte       { return fmt.Appendf(nil, "ckpt%d", w.n) }

// save is the content of a checkpoint: of one version throughout.
func (w *writer) save(k int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%08d", k), 50_000) }

var patient = grpc.WaitForReady(true)

func (w *writer) begin(ctx context.Context) error {
	for _, path := range [][]byte{w.log(), w.moved(0)} {
		if _, err := w.files.Create(ctx, &posixv1.CreateRequest{Dataset: "p/d", Path: path}, patient); err != nil {
			return err
		}
	}
	return w.checkpoint(ctx, 0)
}

func (w *writer) step(ctx context.Context) error {
	id := newID(w.rng)
	switch k := w.rng.IntN(20); {
	case k < 12:
		err := retry(ctx, func(ctx context.Context) error {
			_, err := w.files.Write(ctx, &posixv1.WriteRequest{Dataset: "p/d", Path: w.log(), Append: true, Mutation: id, Payload: fmt.Appendf(nil, "%08d", w.appended)}, patient)
			return err
		})
		w.appended++
		return err
	case k < 16:
		err := retry(ctx, func(ctx context.Context) error {
			_, err := w.files.Rename(ctx, &posixv1.RenameRequest{Dataset: "p/d", OldPath: w.moved(w.renamed), NewPath: w.moved(w.renamed + 1), Exclusive: true, Mutation: id}, patient)
			return err
		})
		w.renamed++
		return err
	case k < 18:
		w.saved++
		return w.checkpoint(ctx, w.saved)
	}
	name := fmt.Sprintf("w%d-%d", w.n, len(w.snapshots))
	err := retry(ctx, func(ctx context.Context) error {
		_, err := w.datasets.CreateSnapshot(ctx, &datasetv1.CreateSnapshotRequest{Dataset: "p/d", Name: name, Mutation: id}, patient)
		return err
	})
	w.snapshots = append(w.snapshots, writerState{name, w.appended, w.renamed, w.saved})
	return err
}

// checkpoint stages a file in two writes and publishes it. Staged bytes do not
// outlive the server: then it begins anew.
func (w *writer) checkpoint(ctx context.Context, k int) error {
	content := w.save(k)
	for {
		stage, publish := newID(w.rng), newID(w.rng)
		var inode uint64
		err := retry(ctx, func(ctx context.Context) error {
			r, err := w.files.Stage(ctx, &posixv1.StageRequest{Dataset: "p/d", Mutation: stage}, patient)
			inode = r.GetInode()
			return err
		})
		for off := 0; off < len(content) && err == nil; off += len(content) / 2 {
			err = retry(ctx, func(ctx context.Context) error {
				_, err := w.files.WriteStaged(ctx, &posixv1.WriteStagedRequest{Dataset: "p/d", Inode: inode, Offset: uint64(off), Payload: content[off : off+len(content)/2]}, patient)
				return err
			})
		}
		if err == nil {
			err = retry(ctx, func(ctx context.Context) error {
				_, err := w.files.Publish(ctx, &posixv1.PublishRequest{Dataset: "p/d", Inode: inode, Path: w.ckpt(), Size: uint64(len(content)), Mutation: publish}, patient)
				return err
			})
		}
		if !fault.Is(err, fault.Stale, fault.NotFound) {
			return err
		}
	}
}

// check reads everything at an address and compares.
func (w *writer) check(ctx context.Context, t *testing.T, dataset string, s writerState) {
	t.Helper()
	read := func(path []byte) []byte {
		t.Helper()
		return must[*posixv1.ReadResponse](t)(w.files.Read(ctx, &posixv1.ReadRequest{Dataset: dataset, Path: path, Length: 16 << 20}, patient)).GetPayload()
	}
	var want []byte
	for i := range s.appended {
		want = fmt.Appendf(want, "%08d", i)
	}
	if got := read(w.log()); !bytes.Equal(got, want) {
		t.Errorf("%s/%s has %d bytes, want %d: lost, doubled or out of order", dataset, w.log(), len(got), len(want))
	}
	if got := read(w.ckpt()); !bytes.Equal(got, w.save(s.saved)) {
		t.Errorf("%s/%s of %d bytes is not version %d, whole", dataset, w.ckpt(), len(got), s.saved)
	}
	list := must[*posixv1.ListDirResponse](t)(w.files.ListDir(ctx, &posixv1.ListDirRequest{Dataset: dataset}, patient))
	var names []string
	for _, e := range list.GetEntries() {
		if bytes.HasPrefix(e.GetName(), fmt.Appendf(nil, "moved%d-", w.n)) {
			names = append(names, string(e.GetName()))
		}
	}
	if !slices.Equal(names, []string{string(w.moved(s.renamed))}) {
		t.Errorf("%s has %q, want %q alone", dataset, names, w.moved(s.renamed))
	}
}

// TestKill kills the server at random times under writers who repeat what was
// not answered: whatever was answered is there, once and whole, also in every
// snapshot. DAOS_TEST_LONG kills hundreds of times.
func TestKill(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	rounds, limit := 6, 2*time.Minute
	if os.Getenv("DAOS_TEST_LONG") != "" {
		rounds, limit = 300, 30*time.Minute
	}
	s := newSite(t)
	socket := filepath.Join(s.runtime, "s")
	p := s.spawn("--socket", socket)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cc := dial(t, "unix:"+socket, "")
	datasets := datasetv1.NewDatasetServiceClient(cc)
	must[*poolv1.CreatePoolResponse](t)(poolv1.NewPoolServiceClient(cc).CreatePool(ctx, &poolv1.CreatePoolRequest{Name: "p"}))
	must[*datasetv1.CreateDatasetResponse](t)(datasets.CreateDataset(ctx, &datasetv1.CreateDatasetRequest{Dataset: "p/d", Type: datasetv1.Type_TYPE_POSIX}))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	writers := make([]*writer, 4)
	for i := range writers {
		cc := dial(t, "unix:"+socket, "")
		w := &writer{n: i, rng: rand.New(rand.NewPCG(seed, uint64(i+2))), files: posixv1.NewPosixServiceClient(cc), datasets: datasetv1.NewDatasetServiceClient(cc)}
		if err := w.begin(ctx); err != nil {
			t.Fatal(wire.Fault(err))
		}
		writers[i] = w
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := w.step(ctx); err != nil {
					t.Errorf("writer %d: %v", w.n, err)
					return
				}
			}
		})
	}
	wg.Go(func() { churn(ctx, t, "unix:"+socket, rand.New(rand.NewPCG(seed, 99)), stop) })
	for range rounds {
		time.Sleep(time.Duration(30+rng.IntN(270)) * time.Millisecond) // the random moment of the crash
		p.kill()
		p = s.spawn("--socket", socket)
	}
	close(stop)
	wg.Wait()
	done := writerState{}
	for _, w := range writers {
		w.check(ctx, t, "p/d", writerState{"", w.appended, w.renamed, w.saved})
		for _, snap := range w.snapshots {
			w.check(ctx, t, "p/d@"+snap.name, snap)
		}
		done.appended, done.renamed, done.saved = done.appended+w.appended, done.renamed+w.renamed, done.saved+w.saved
	}
	list := must[*datasetv1.ListDatasetsResponse](t)(datasets.ListDatasets(ctx, &datasetv1.ListDatasetsRequest{}, patient))
	if len(list.GetDatasets()) != 1 {
		t.Errorf("the churn has left %v", list.GetDatasets())
	}
	t.Logf("%d appends, %d renames, %d saves over %d kills", done.appended, done.renamed, done.saved, rounds)
}

// churn makes datasets and destroys them until it is told to stop.
func churn(ctx context.Context, t *testing.T, target string, rng *rand.Rand, stop <-chan struct{}) {
	cc := dial(t, target, "")
	files, datasets := posixv1.NewPosixServiceClient(cc), datasetv1.NewDatasetServiceClient(cc)
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		name := fmt.Sprintf("p/churn%d", i)
		for step, call := range []func(context.Context, *commonv1.Mutation) error{
			func(ctx context.Context, id *commonv1.Mutation) error {
				_, err := datasets.CreateDataset(ctx, &datasetv1.CreateDatasetRequest{Dataset: name, Type: datasetv1.Type_TYPE_POSIX, Mutation: id}, grpc.WaitForReady(true))
				return err
			},
			func(ctx context.Context, id *commonv1.Mutation) error {
				_, err := files.Create(ctx, &posixv1.CreateRequest{Dataset: name, Path: []byte("f"), Exclusive: true, Payload: make([]byte, 10_000), Mutation: id}, grpc.WaitForReady(true))
				return err
			},
			func(ctx context.Context, id *commonv1.Mutation) error {
				_, err := datasets.DestroyDataset(ctx, &datasetv1.DestroyDatasetRequest{Dataset: name, Mutation: id}, grpc.WaitForReady(true))
				return err
			},
		} {
			id := newID(rng)
			if err := retry(ctx, func(ctx context.Context) error { return call(ctx, id) }); err != nil {
				t.Errorf("step %d of %s: %v", step, name, err)
				return
			}
		}
	}
}

func newID(rng *rand.Rand) *commonv1.Mutation {
	id := make([]byte, 16)
	for i := range id {
		id[i] = byte(rng.Uint32())
	}
	return &commonv1.Mutation{RequestId: id}
}

// retry repeats a call that was not answered.
func retry(ctx context.Context, call func(context.Context) error) error {
	for {
		err := wire.Fault(call(ctx))
		if !fault.Is(err, fault.Unreachable, fault.Canceled) || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
