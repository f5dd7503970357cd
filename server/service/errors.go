package service

import (
	"errors"
	"strings"

	"daos/engine/object"
	"daos/internal/address"
	"daos/internal/fault"
	commonv1 "daos/proto/gen/daos/common/v1"
)

// fullName makes the resource of an error from a dataset a full address: the
// layers below know paths and objects, not what the dataset is called.
func fullName(a address.Address, err error) error {
	var e *fault.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	c := *e
	name := a.DatasetName()
	switch {
	case c.Resource == name || strings.HasPrefix(c.Resource, name+"/"):
		return err
	case e.Kind == fault.NoSpace && strings.HasPrefix(c.Resource, "pool "):
		c.Resource, c.Detail = a.Pool, "the pool is full: "+c.Detail
	case e.Kind == fault.NoSpace && strings.HasPrefix(c.Resource, "dataset "):
		c.Resource, c.Detail = a.Live().DatasetName(), "the dataset is full: "+c.Detail
	case c.Resource == "" || c.Resource == "/" || c.Resource == "dataset":
		c.Resource = name
	case strings.HasPrefix(c.Op, "posix.") && strings.HasPrefix(c.Resource, "inode "):
		c.Resource = name + " " + c.Resource
	case strings.HasPrefix(c.Op, "posix."):
		c.Resource = name + "/" + strings.TrimPrefix(c.Resource, "/")
	default: // an object or a key
		c.Resource, c.Detail = name, c.Resource+": "+c.Detail
	}
	return &c
}

// requestID reads the request id of a mutation.
func requestID(m *commonv1.Mutation) (id object.RequestID, err error) {
	b := m.GetRequestId()
	if len(b) != 0 && len(b) != len(id) {
		return id, fault.New(fault.Invalid, "mutation", "request_id", "a request id has %d bytes, not %d", len(id), len(b)).
			Do("send 16 random bytes, or none")
	}
	copy(id[:], b)
	return id, nil
}

// changed answers a mutation.
func changed(epoch object.Epoch) *commonv1.Changed { return &commonv1.Changed{Epoch: uint64(epoch)} }
