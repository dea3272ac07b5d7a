package bundttypes

import "time"

// CheckVolumesInput is the request of CheckVolumes.
type CheckVolumesInput struct {
	// ResourceIds are of volumes, snapshots and images; none: all of the account's.
	ResourceIds []string `json:"ResourceIds,omitempty" query:"ResourceId"`
}

// CheckVolumesOutput is the response of CheckVolumes.
type CheckVolumesOutput struct {
	Layers []CheckedLayer `json:"Layers,omitzero" xml:"layerSet>item"`
}

// CheckedLayer is a layer and what became of its check.
type CheckedLayer struct {
	Bytes       int64      `json:"Bytes" xml:"bytes"` // that were read
	CheckedAt   *time.Time `json:"CheckedAt,omitempty" xml:"checkedAt,omitempty"`
	ImageIds    []string   `json:"ImageIds,omitzero" xml:"imageSet>item"` // that depend on it, as the others
	LayerId     string     `json:"LayerId" xml:"layerId"`
	Message     string     `json:"Message,omitempty" xml:"message,omitempty"`
	SnapshotIds []string   `json:"SnapshotIds,omitzero" xml:"snapshotSet>item"`
	// State is "ok", "damaged", "recorded" for a layer whose digest was not known yet,
	// or "in-use" for one that is written to, of which the header alone is read.
	State     string   `json:"State" xml:"state"`
	VolumeIds []string `json:"VolumeIds,omitzero" xml:"volumeSet>item"`
}

// ModifySnapshotRetentionInput is the request of ModifySnapshotRetention: for how long
// deleted snapshots of the account stay in the recycle bin, 0 for not at all.
type ModifySnapshotRetentionInput struct {
	RetentionDays *int32 `json:"RetentionDays,omitempty" query:"RetentionDays" required:"true"`
}

// DescribeSnapshotRetentionInput is the request of DescribeSnapshotRetention.
type DescribeSnapshotRetentionInput struct{}

// SnapshotRetention is the response of both.
type SnapshotRetention struct {
	RetentionDays int32 `json:"RetentionDays" xml:"retentionDays"`
}
