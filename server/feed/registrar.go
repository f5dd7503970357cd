package feed

import (
	"fmt"
	"sort"

	"google.golang.org/grpc"
)

// Registrar collects gRPC services so that the feed can call them.
type Registrar struct {
	methods map[string]*method
}

// method is one method of a registered service.
type method struct {
	name   string // "/daos.posix.v1.PosixService/Stat"
	impl   any
	unary  grpc.MethodHandler // nil for a streaming method
	stream *grpc.StreamDesc
}

// NewRegistrar returns an empty Registrar.
func NewRegistrar() *Registrar { return &Registrar{methods: map[string]*method{}} }

// RegisterService implements grpc.ServiceRegistrar. Registering a method twice
// is a bug of the assembly and panics, as grpc.Server does.
func (r *Registrar) RegisterService(d *grpc.ServiceDesc, impl any) {
	add := func(name string, m *method) {
		m.name, m.impl = "/"+d.ServiceName+"/"+name, impl
		if _, ok := r.methods[m.name]; ok {
			panic(fmt.Sprintf("feed: %s is registered twice", m.name))
		}
		r.methods[m.name] = m
	}
	for i := range d.Methods {
		add(d.Methods[i].MethodName, &method{unary: d.Methods[i].Handler})
	}
	for i := range d.Streams {
		add(d.Streams[i].StreamName, &method{stream: &d.Streams[i]})
	}
}

// Methods lists the full names of all methods, sorted.
func (r *Registrar) Methods() []string {
	names := make([]string, 0, len(r.methods))
	for n := range r.methods {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Tee registers a service with several registrars.
func Tee(rs ...grpc.ServiceRegistrar) grpc.ServiceRegistrar { return tee(rs) }

type tee []grpc.ServiceRegistrar

func (t tee) RegisterService(d *grpc.ServiceDesc, impl any) {
	for _, r := range t {
		r.RegisterService(d, impl)
	}
}
