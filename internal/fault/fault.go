// Package fault is the error model of the service: one closed list of kinds
// that crosses every boundary (engine, wire, Python, command line).
//
// An error says what failed (Op), on which resource, why, and, where there is
// something to do, what to do (Resolution). The list of kinds is append-only:
// the numbers go over the wire (proto/daos/common/v1/error.proto).
//
// Layers below server/ return *fault.Error or wrap one with %w. server/* turns
// a kind into a gRPC code and back; pydaos turns it into an exception class;
// internal/cli into an exit code.
package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// Kind classifies an error. The zero Kind is Internal's neighbour: Unknown is
// never put on the wire.
type Kind uint8

// The closed list of kinds; append only, numbers are wire format.
const (
	Unknown         Kind = 0
	Invalid         Kind = 1  // a malformed argument: name, type, shape, index, range
	NotFound        Kind = 2  // the named thing does not exist (at that epoch)
	Exists          Kind = 3  // the named thing exists already
	Permission      Kind = 4  // known caller, not allowed
	Unauthenticated Kind = 5  // no or wrong token
	NoSpace         Kind = 6  // quota or disk is full
	Overloaded      Kind = 7  // too much in flight: back off and retry
	Stale           Kind = 8  // pool map version or capability is out of date
	NotLeader       Kind = 9  // reserved for clusters
	Conflict        Kind = 10 // a transaction lost against another: restart it
	Unreachable     Kind = 11 // server can't be reached
	Timeout         Kind = 12 // deadline passed
	Corrupt         Kind = 13 // bytes do not match their checksum; not returned
	DataLoss        Kind = 14 // redundancy is exhausted
	TooBig          Kind = 15 // key, value or message over its limit
	Unsupported     Kind = 16 // known, but not there (yet)
	Internal        Kind = 17 // a bug
	NotDirectory    Kind = 18 // ENOTDIR
	IsDirectory     Kind = 19 // EISDIR
	NotEmpty        Kind = 20 // ENOTEMPTY
	Canceled        Kind = 21 // the caller gave up
	EpochGone       Kind = 22 // versions at that epoch have been swept
	ReadOnly        Kind = 23 // write to a snapshot address
)

var names = map[Kind]string{
	Unknown: "unknown", Invalid: "invalid", NotFound: "not found", Exists: "exists",
	Permission: "permission denied", Unauthenticated: "unauthenticated", NoSpace: "no space",
	Overloaded: "overloaded", Stale: "stale", NotLeader: "not leader", Conflict: "conflict",
	Unreachable: "unreachable", Timeout: "timeout", Corrupt: "corrupt", DataLoss: "data loss",
	TooBig: "too big", Unsupported: "unsupported", Internal: "internal error",
	NotDirectory: "not a directory", IsDirectory: "is a directory", NotEmpty: "directory not empty",
	Canceled: "canceled", EpochGone: "epoch gone", ReadOnly: "read-only",
}

func (k Kind) String() string {
	if s, ok := names[k]; ok {
		return s
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error is the one error value of the service.
type Error struct {
	Kind       Kind
	Op         string // the operation, "posix.rename"
	Resource   string // what it was done to, "p/photos@v1/train/a.png"
	Detail     string // what is wrong, in one sentence without a full stop
	Resolution string // what to do about it, where there is something
	Err        error  // cause, if any
}

// Error renders "resource: detail (kind); resolution".
func (e *Error) Error() string {
	var b strings.Builder
	if e.Resource != "" {
		b.WriteString(e.Resource)
		b.WriteString(": ")
	}
	switch {
	case e.Detail != "" && e.Err != nil:
		b.WriteString(e.Detail + ": " + e.Err.Error())
	case e.Detail != "":
		b.WriteString(e.Detail)
	case e.Err != nil:
		b.WriteString(e.Err.Error())
	default:
		b.WriteString(e.Kind.String())
	}
	if e.Resolution != "" {
		sep := "; "
		if strings.Contains(e.Detail, "\n") { // a place in a text is marked
			sep = "\n  "
		}
		b.WriteString(sep)
		b.WriteString(e.Resolution)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is lets errors.Is(err, fault.NotFound) work through Kind's own Error method.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && e.Kind == k
}

// Error makes a Kind usable as an errors.Is target: errors.Is(err, fault.NotFound).
func (k Kind) Error() string { return k.String() }

// New makes an error of a kind about a resource. The detail is formatted.
func New(kind Kind, op, resource, format string, args ...any) *Error {
	return &Error{Kind: kind, Op: op, Resource: resource, Detail: fmt.Sprintf(format, args...)}
}

// Do returns a copy of e with a resolution: what the reader should do.
func (e *Error) Do(format string, args ...any) *Error {
	c := *e
	c.Resolution = fmt.Sprintf(format, args...)
	return &c
}

// Because returns a copy of e with a cause.
func (e *Error) Because(err error) *Error {
	c := *e
	c.Err = err
	return &c
}

// Wrap adds an operation and resource to err and keeps its kind.
// It returns nil for a nil err.
func Wrap(err error, op, resource string) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) && e.Resource != "" {
		return err
	}
	if e != nil {
		c := *e
		c.Op, c.Resource = op, resource
		return &c
	}
	return &Error{Kind: KindOf(err), Op: op, Resource: resource, Err: err}
}

// KindOf classifies any error, those of the standard library too.
func KindOf(err error) Kind {
	if err == nil {
		return Unknown
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return NoSpace
	case errors.Is(err, fs.ErrNotExist):
		return NotFound
	case errors.Is(err, fs.ErrExist):
		return Exists
	case errors.Is(err, fs.ErrPermission):
		return Permission
	}
	return Internal
}

// Is reports whether err is of one of the kinds.
func Is(err error, kinds ...Kind) bool {
	if err == nil {
		return false
	}
	have := KindOf(err)
	for _, k := range kinds {
		if have == k {
			return true
		}
	}
	return false
}

// ExitCode is the process exit status of the command line for a kind.
func (k Kind) ExitCode() int {
	switch k {
	case Invalid, TooBig, Unsupported, NotDirectory, IsDirectory, ReadOnly:
		return 2
	case NotFound, EpochGone:
		return 3
	case Exists, NotEmpty:
		return 4
	case Permission, Unauthenticated:
		return 5
	case NoSpace:
		return 6
	case Overloaded, Unreachable, Timeout:
		return 7
	case Conflict:
		return 8
	case Corrupt, DataLoss:
		return 9
	default:
		return 1
	}
}
