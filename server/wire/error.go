// Package wire turns errors into what goes over the wire and back: fault.Kind
// into a gRPC code with a daos.common.v1.Error detail, and the other way. The
// feed sends the same detail in its STATUS frames. Services return fault
// errors; only the interceptors (server/api) and the clients come here.
package wire

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"daos/internal/fault"
	commonv1 "daos/proto/gen/daos/common/v1"
)

// maxText bounds each text of an error, so that a hostile name can't make a
// status that is larger than a header may be.
const maxText = 1000

// Code is the gRPC code of a kind.
func Code(k fault.Kind) codes.Code {
	switch k {
	case fault.Invalid:
		return codes.InvalidArgument
	case fault.NotFound:
		return codes.NotFound
	case fault.Exists:
		return codes.AlreadyExists
	case fault.Permission:
		return codes.PermissionDenied
	case fault.Unauthenticated:
		return codes.Unauthenticated
	case fault.NoSpace:
		return codes.ResourceExhausted
	case fault.Overloaded, fault.NotLeader, fault.Unreachable:
		return codes.Unavailable
	case fault.Stale, fault.NotDirectory, fault.IsDirectory, fault.NotEmpty, fault.EpochGone, fault.ReadOnly:
		return codes.FailedPrecondition
	case fault.Conflict:
		return codes.Aborted
	case fault.Timeout:
		return codes.DeadlineExceeded
	case fault.Corrupt, fault.DataLoss:
		return codes.DataLoss
	case fault.TooBig:
		return codes.OutOfRange
	case fault.Unsupported:
		return codes.Unimplemented
	case fault.Canceled:
		return codes.Canceled
	}
	return codes.Internal
}

// kindOfCode classifies a status that came without a detail: made by gRPC
// itself, by a proxy, or by another server.
func kindOfCode(c codes.Code) fault.Kind {
	switch c {
	case codes.InvalidArgument:
		return fault.Invalid
	case codes.NotFound:
		return fault.NotFound
	case codes.AlreadyExists:
		return fault.Exists
	case codes.PermissionDenied:
		return fault.Permission
	case codes.Unauthenticated:
		return fault.Unauthenticated
	case codes.ResourceExhausted, codes.OutOfRange:
		return fault.TooBig // gRPC's own: a message over its limit
	case codes.Unavailable:
		return fault.Unreachable
	case codes.FailedPrecondition:
		return fault.Stale
	case codes.Aborted:
		return fault.Conflict
	case codes.DeadlineExceeded:
		return fault.Timeout
	case codes.DataLoss:
		return fault.DataLoss
	case codes.Unimplemented:
		return fault.Unsupported
	case codes.Canceled:
		return fault.Canceled
	}
	return fault.Internal
}

// Detail is the wire form of any error: a fault, a status, one of the standard
// library's. An error that nobody classified is Internal.
func Detail(err error) *commonv1.Error {
	err = Fault(err)
	var f *fault.Error
	if !errors.As(err, &f) {
		f = &fault.Error{Kind: fault.KindOf(err), Detail: err.Error()}
	}
	d := &commonv1.Error{
		Kind: commonv1.Kind(f.Kind), Op: clip(f.Op), Resource: clip(f.Resource), Detail: clip(detail(f)), Resolution: clip(f.Resolution),
	}
	if d.Kind == commonv1.Kind_KIND_UNSPECIFIED {
		d.Kind = commonv1.Kind_KIND_INTERNAL
	}
	if f.Kind == fault.Overloaded {
		d.RetryAfterMillis = 50
	}
	return d
}

func detail(f *fault.Error) string {
	switch {
	case f.Detail != "" && f.Err != nil:
		return f.Detail + ": " + f.Err.Error()
	case f.Detail != "":
		return f.Detail
	case f.Err != nil:
		return f.Err.Error()
	}
	return f.Kind.String()
}

// FromDetail is the error that a Detail describes.
func FromDetail(d *commonv1.Error) *fault.Error {
	k := fault.Kind(d.GetKind())
	if d.GetKind() <= 0 || d.GetKind() > commonv1.Kind_KIND_READ_ONLY {
		k = fault.Internal // of a newer server; the texts say what it is
	}
	return &fault.Error{Kind: k, Op: d.GetOp(), Resource: d.GetResource(), Detail: d.GetDetail(), Resolution: d.GetResolution()}
}

// Status is the gRPC form of any error; nil for nil. A status passes unchanged.
func Status(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := err.(interface{ GRPCStatus() *status.Status }); ok { //nolint:errorlint // a wrapped status must be rendered anew
		return err
	}
	d := Detail(err)
	st := status.New(Code(fault.Kind(d.GetKind())), FromDetail(d).Error())
	if with, e := st.WithDetails(d); e == nil {
		st = with
	}
	return st.Err()
}

// Fault is the fault error behind a gRPC error; other errors pass unchanged.
func Fault(err error) error {
	if err == nil {
		return nil
	}
	var f *fault.Error
	if errors.As(err, &f) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	st, ok := status.FromError(err)
	if !ok || st.Code() == codes.OK {
		return err
	}
	for _, d := range st.Details() {
		if e, ok := d.(*commonv1.Error); ok {
			return FromDetail(e)
		}
	}
	return &fault.Error{Kind: kindOfCode(st.Code()), Op: "rpc", Detail: st.Message()}
}

func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	// Names in a dataset are bytes; a proto string that is not UTF-8 would fail
	// the whole answer.
	return strings.ToValidUTF8(s, "\uFFFD")
}
