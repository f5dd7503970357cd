package service

import scanv1 "daos/proto/gen/daos/scan/v1"

// Scan implements daos.scan.v1.
type Scan struct {
	scanv1.UnimplementedScanServiceServer
	Datasets *Datasets
}
