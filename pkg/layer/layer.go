// Package layer owns the layer store: qcow2 files on disk, each either the
// writable head of a volume or frozen for ever, and content-addressed blobs
// (kernels, initrds, recipe archives). It knows files, not objects: which layers
// must exist is decided by the node from the store's records. It may import
// pkg/model and pkg/disk only.
package layer
