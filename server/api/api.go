// Package api is what every transport shares: the list of services, and Guard,
// the one gate that each call of each transport passes. gRPC and Flight come
// through Guard's interceptors; the feed dispatches through the same service
// descriptors and the same interceptors.
//
// The services themselves are in server/service; sockets are server's business.
package api

import (
	"google.golang.org/grpc"

	arrayv1 "daos/proto/gen/daos/array/v1"
	datasetv1 "daos/proto/gen/daos/dataset/v1"
	kvv1 "daos/proto/gen/daos/kv/v1"
	loaderv1 "daos/proto/gen/daos/loader/v1"
	poolv1 "daos/proto/gen/daos/pool/v1"
	posixv1 "daos/proto/gen/daos/posix/v1"
	queryv1 "daos/proto/gen/daos/query/v1"
	scanv1 "daos/proto/gen/daos/scan/v1"
	systemv1 "daos/proto/gen/daos/system/v1"
	tensorv1 "daos/proto/gen/daos/tensor/v1"
	viewv1 "daos/proto/gen/daos/view/v1"
)

// Services implements every service of proto/daos. All fields are set.
type Services struct {
	System  systemv1.SystemServiceServer
	Pool    poolv1.PoolServiceServer
	Dataset datasetv1.DatasetServiceServer
	Posix   posixv1.PosixServiceServer
	KV      kvv1.KvServiceServer
	Array   arrayv1.ArrayServiceServer
	Tensor  tensorv1.TensorServiceServer
	Scan    scanv1.ScanServiceServer
	Query   queryv1.QueryServiceServer
	Loader  loaderv1.LoaderServiceServer
	View    viewv1.ViewServiceServer
}

// RegisterAll registers the services with a gRPC server, or with anything that
// collects descriptors, such as the feed's dispatcher.
func (s *Services) RegisterAll(r grpc.ServiceRegistrar) {
	systemv1.RegisterSystemServiceServer(r, s.System)
	poolv1.RegisterPoolServiceServer(r, s.Pool)
	datasetv1.RegisterDatasetServiceServer(r, s.Dataset)
	posixv1.RegisterPosixServiceServer(r, s.Posix)
	kvv1.RegisterKvServiceServer(r, s.KV)
	arrayv1.RegisterArrayServiceServer(r, s.Array)
	tensorv1.RegisterTensorServiceServer(r, s.Tensor)
	scanv1.RegisterScanServiceServer(r, s.Scan)
	queryv1.RegisterQueryServiceServer(r, s.Query)
	loaderv1.RegisterLoaderServiceServer(r, s.Loader)
	viewv1.RegisterViewServiceServer(r, s.View)
}
