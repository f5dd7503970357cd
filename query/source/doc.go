// Package source makes tables of datasets: a query/exec.Source for each type,
// at one epoch. It maps columns and their statistics; what is stored how is the
// matter of dataset/*, what is done with rows that of query/exec.
//
// Start at Tensor and Files.
package source
