package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"daos/internal/fault"
	commonv1 "daos/proto/gen/daos/common/v1"
	"daos/server/wire"
)

// want is the table of docs/protocol.md: every kind with its code.
var want = map[fault.Kind]codes.Code{
	fault.Invalid: codes.InvalidArgument, fault.NotFound: codes.NotFound, fault.Exists: codes.AlreadyExists,
	fault.Permission: codes.PermissionDenied, fault.Unauthenticated: codes.Unauthenticated, fault.NoSpace: codes.ResourceExhausted,
	fault.Overloaded: codes.Unavailable, fault.Stale: codes.FailedPrecondition, fault.NotLeader: codes.Unavailable,
	fault.Conflict: codes.Aborted, fault.Unreachable: codes.Unavailable, fault.Timeout: codes.DeadlineExceeded,
	fault.Corrupt: codes.DataLoss, fault.DataLoss: codes.DataLoss, fault.TooBig: codes.OutOfRange, fault.Unsupported: codes.Unimplemented,
	fault.Internal: codes.Internal, fault.NotDirectory: codes.FailedPrecondition, fault.IsDirectory: codes.FailedPrecondition,
	fault.NotEmpty: codes.FailedPrecondition, fault.Canceled: codes.Canceled, fault.EpochGone: codes.FailedPrecondition,
	fault.ReadOnly: codes.FailedPrecondition,
}

// TestRoundTrip sends every kind there is over the wire and back.
func TestRoundTrip(t *testing.T) {
	for number := range commonv1.Kind_name {
		k := fault.Kind(number)
		if k == fault.Unknown {
			continue
		}
		code, ok := want[k]
		if !ok {
			t.Errorf("kind %v has no code in the table", k)
			continue
		}
		sent := fault.New(k, "posix.rename", "p/d@s/x", "detail of %d", number).Do("do this")
		err := wire.Status(fmt.Errorf("outer: %w", sent))
		if got := status.Code(err); got != code {
			t.Errorf("%v becomes %v, want %v", k, got, code)
		}
		var got *fault.Error
		if !errors.As(wire.Fault(err), &got) || *got != *sent {
			t.Errorf("%v comes back as %+v, want %+v", k, got, sent)
		}
		if d := wire.Detail(err); fault.Kind(d.GetKind()) != k || d.GetResource() != sent.Resource || (d.GetRetryAfterMillis() > 0) != (k == fault.Overloaded) {
			t.Errorf("%v has the detail %v", k, d)
		}
	}
}

// TestDocumentation keeps the table in docs/protocol.md.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for number, name := range commonv1.Kind_name {
		k := fault.Kind(number)
		if k == fault.Unknown {
			continue
		}
		code := strings.ToUpper(regexp.MustCompile("([a-z])([A-Z])").ReplaceAllString(want[k].String(), "${1}_$2"))
		if code == "CANCELED" {
			code = "CANCELLED" // gRPC's own spelling outside of Go
		}
		row := fmt.Sprintf("| %s | %d | %s |", strings.TrimPrefix(name, "KIND_"), number, code)
		at := strings.Index(string(text), row)
		if at < 0 {
			t.Errorf("no row %q", row)
			continue
		}
		line, _, _ := strings.Cut(string(text)[at:], "\n")
		if end := fmt.Sprintf("| %d |", k.ExitCode()); !strings.HasSuffix(line, end) {
			t.Errorf("the row %q does not end with the exit status %d", line, k.ExitCode())
		}
	}
}

func TestOtherErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		kind fault.Kind
	}{
		{context.DeadlineExceeded, fault.Timeout},
		{fmt.Errorf("x: %w", context.Canceled), fault.Canceled},
		{syscall.ENOSPC, fault.NoSpace},
		{fs.ErrNotExist, fault.NotFound},
		{errors.New("anything"), fault.Internal},
		{status.Error(codes.ResourceExhausted, "message larger than max"), fault.TooBig},
		{status.Error(codes.Unavailable, "connection refused"), fault.Unreachable},
		{status.Error(codes.Unimplemented, "unknown service"), fault.Unsupported},
		{fault.New(fault.Unknown, "", "", "nobody classified it"), fault.Internal},
	} {
		if got := wire.Detail(c.err); fault.Kind(got.GetKind()) != c.kind {
			t.Errorf("%v has kind %v, want %v", c.err, got.GetKind(), c.kind)
		}
		if got := fault.KindOf(wire.Fault(wire.Status(c.err))); got != c.kind {
			t.Errorf("%v comes back as %v, want %v", c.err, got, c.kind)
		}
	}
	if wire.Status(nil) != nil || wire.Fault(nil) != nil {
		t.Error("no error has become one")
	}
	newer := wire.FromDetail(&commonv1.Error{Kind: 200, Detail: "of a newer server"})
	if newer.Kind != fault.Internal || newer.Detail != "of a newer server" {
		t.Errorf("an unknown kind becomes %+v", newer)
	}
}

// TestHostileTexts: a name from a client must not make an answer that can't be
// sent.
func TestHostileTexts(t *testing.T) {
	err := fault.New(fault.NotFound, "op", strings.Repeat("\xff", 1<<20), "%s", strings.Repeat("x", 1<<20))
	d := wire.Detail(err)
	if len(d.GetResource()) > 4000 || len(d.GetDetail()) > 4000 {
		t.Errorf("texts of %d and %d bytes", len(d.GetResource()), len(d.GetDetail()))
	}
	if fault.KindOf(wire.Fault(wire.Status(err))) != fault.NotFound {
		t.Error("the kind is lost")
	}
}
