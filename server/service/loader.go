package service

import loaderv1 "daos/proto/gen/daos/loader/v1"

// Loader implements daos.loader.v1.
type Loader struct {
	loaderv1.UnimplementedLoaderServiceServer
	Datasets *Datasets
}
