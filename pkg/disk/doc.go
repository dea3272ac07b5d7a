// Package disk owns what is inside disk images: qcow2 headers and their
// inspection, overlays, conversion, partitions and filesystems. It knows files,
// not objects, and imports no other package of this project.
package disk
