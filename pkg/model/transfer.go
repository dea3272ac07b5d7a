package model

import "time"

// TaskState is the state of an import or export task.
// https://docs.aws.amazon.com/vm-import/latest/userguide/import-image-task-status.html
type TaskState string

// The states of tasks. What an active one is doing is in its message; one that
// failed is deleted, and its message says why.
const (
	TaskActive    TaskState = "active"
	TaskCompleted TaskState = "completed"
	TaskDeleting  TaskState = "deleting" // it was cancelled, and its node has not noticed yet
	TaskDeleted   TaskState = "deleted"
)

// Over reports whether nothing more happens in this state.
func (s TaskState) Over() bool { return s == TaskCompleted || s == TaskDeleted }

// DiskFormat is the format of a disk image that is imported or exported.
type DiskFormat string

// The formats, by EC2's names; EC2 does not know QCOW2.
const (
	FormatRaw   DiskFormat = "RAW"
	FormatVMDK  DiskFormat = "VMDK"
	FormatVHD   DiskFormat = "VHD"
	FormatQcow2 DiskFormat = "QCOW2"
	FormatVHDX  DiskFormat = "VHDX" // to import
	FormatOVA   DiskFormat = "OVA"  // a machine of one or more disks
)

// ImportTask makes an image of disk images from elsewhere.
type ImportTask struct {
	ID          string       `json:"id"`
	OwnerID     string       `json:"ownerID"`
	Node        string       `json:"node"`
	State       TaskState    `json:"state"`
	Message     string       `json:"message,omitempty"`  // what is being done, or why it failed
	Progress    int          `json:"progress,omitempty"` // per cent
	Description string       `json:"description,omitempty"`
	Arch        Arch         `json:"arch,omitempty"` // as asked for; once completed, the image's
	Mode        BootMode     `json:"mode,omitempty"` // likewise
	Disks       []ImportDisk `json:"disks"`
	Domain      string       `json:"domain,omitempty"` // UUID of the foreign machine whose disks they are
	ImageID     string       `json:"imageID"`          // allotted at the start; exists once completed
	ImageName   string       `json:"imageName"`
	Created     time.Time    `json:"created"`
	Finished    time.Time    `json:"finished,omitzero"`
	Tags        Tags         `json:"tags,omitempty"`
}

// ImportDisk is one disk of an import: a file below the bucket directory, an
// uploaded blob, or a snapshot that is there.
type ImportDisk struct {
	Device      string     `json:"device"`
	Description string     `json:"description,omitempty"`
	Format      DiskFormat `json:"format"`
	URL         string     `json:"url,omitempty"`  // as asked for
	File        string     `json:"file,omitempty"` // of a foreign machine, on its node
	Bucket      string     `json:"bucket,omitempty"`
	Key         string     `json:"key,omitempty"`
	Digest      string     `json:"digest,omitempty"`     // "sha256:HEX" that what is at an http URL must have
	Blob        string     `json:"blob,omitempty"`       // digest
	Member      string     `json:"member,omitempty"`     // file in the OVA that the source is; "" until that was looked into
	SnapshotID  string     `json:"snapshotID,omitempty"` // given, or once completed the one that was made
	SizeBytes   int64      `json:"sizeBytes,omitempty"`  // of the image file
	// Source names the content that was read and its format, for the next import of
	// it; "" if nothing tells that it is the same.
	Source string `json:"source,omitempty"`
}

// Owner is the account that the task belongs to.
func (t *ImportTask) Owner() string { return t.OwnerID }

// ExportTask writes an image's disks to files.
type ExportTask struct {
	ID          string       `json:"id"`
	OwnerID     string       `json:"ownerID"`
	Node        string       `json:"node"`
	State       TaskState    `json:"state"`
	Message     string       `json:"message,omitempty"`
	Progress    int          `json:"progress,omitempty"` // per cent
	Description string       `json:"description,omitempty"`
	ImageID     string       `json:"imageID"`
	Format      DiskFormat   `json:"format"`
	Bucket      string       `json:"bucket"`
	Prefix      string       `json:"prefix,omitempty"`
	Disks       []ExportDisk `json:"disks"`          // the root disk first
	Name        string       `json:"name,omitempty"` // of the machine of an OVA
	Arch        Arch         `json:"arch,omitempty"`
	UEFI        bool         `json:"uefi,omitempty"`
	Created     time.Time    `json:"created"`
	Finished    time.Time    `json:"finished,omitzero"`
	Tags        Tags         `json:"tags,omitempty"`
}

// ExportDisk is one disk of an export; those of an OVA have the same file. Its layer stays until the task is over.
type ExportDisk struct {
	LayerID string `json:"layerID"`
	Key     string `json:"key"` // of the file in the bucket
}

// Owner is the account that the task belongs to.
func (t *ExportTask) Owner() string { return t.OwnerID }

// DataDevice is the name of an imported disk after the first that has none; "" for one
// too many.
func DataDevice(index int) string {
	const letters = "bcdefghijklmnopqrstuvwxyz"
	if index < 1 || index > len(letters) {
		return ""
	}
	return "/dev/sd" + letters[index-1:index]
}
