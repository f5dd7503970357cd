// Package tensorarrow is the Arrow form of tensor columns: schemas, record
// batches and IPC streams, in and out. It is the only package of the dataset
// layer that imports Arrow, and it trusts no stream: what a client sends is
// bounded before Arrow's reader sees it, and a panic of that reader is an error.
//
//	fixed, scalar       the type itself (bool, int8 ... float64)
//	fixed, shape s      arrow.fixed_shape_tensor over fixed_size_list<T>[prod s]
//	ragged              list<T> (large_list is read too)
//	bytes, string       binary, utf8 (the large ones are read too)
//
// Start at SchemaOf and ColumnsOf; NewSource reads streams for Append and
// Overwrite, Write writes what Read gives.
package tensorarrow
