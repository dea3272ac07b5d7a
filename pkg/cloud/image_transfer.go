package cloud

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// ImageNameTag is the tag of an import task that says what the image shall be
// called. EC2 names imported images by the task, as ImportImage has no name.
const ImageNameTag = "bundt:image-name"

// ImageImport is what ImportImage asks for.
type ImageImport struct {
	Description string
	Arch        model.Arch     // "" finds out
	Mode        model.BootMode // "" finds out
	Disks       []model.ImportDisk
	Tags        model.Tags
	Domain      string // see model.ImportTask
	ClientToken string `json:"-"`
}

// bucketName is S3's rule, near enough: one path element that is no "." or "..".
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// uploadScheme begins the URL of an uploaded blob.
const uploadScheme = "upload:"

// ImportImage writes the intent to make an image of disk images.
func (c *Account) ImportImage(ctx context.Context, r ImageImport) (t model.ImportTask, err error) {
	if err := checkTags(r.Tags); err != nil {
		return t, err
	}
	if err := checkDescription(r.Description); err != nil {
		return t, err
	}
	if len(r.Disks) == 0 {
		return t, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter DiskContainers")
	}
	if r.Arch != "" && !r.Arch.Valid() {
		return t, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter Architecture is invalid: must be one of %v", r.Arch, model.Archs)
	}
	if r.Arch != "" && r.Mode != "" {
		if _, err := model.FirmwareFor(r.Mode, r.Arch); err != nil {
			return t, err
		}
	}
	hash, err := paramsHash(r)
	if err != nil {
		return t, err
	}
	seen := map[string]bool{}
	for i := range r.Disks {
		if err := c.checkImportDisk(&r.Disks[i], i); err != nil {
			return t, err
		}
		if d := r.Disks[i].Device; seen[d] {
			return t, model.Errorf(model.CodeInvalidParameterValue, "The device %s is used for two disks", d)
		}
		seen[r.Disks[i].Device] = true
		if r.Disks[i].Format == model.FormatOVA && len(r.Disks) > 1 {
			return t, model.Errorf(model.CodeInvalidParameterCombination, "An OVA is a machine with all its disks: it must be the only disk container")
		}
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		ids, err := c.idempotent(tx, "ImportImage", r.ClientToken, hash, func() ([]string, error) { return c.newImport(tx, r) })
		if err != nil {
			return err
		}
		t, err = own(c, tx, records.Imports, ids[0], importNotFound(ids[0]))
		return err
	})
	return t, err
}

func (c *Account) newImport(tx *store.Tx, r ImageImport) ([]string, error) {
	node, err := c.bakery(tx)
	if err != nil {
		return nil, err
	}
	for _, d := range r.Disks {
		if d.SnapshotID == "" {
			continue
		}
		if _, err := c.usableSnapshot(tx, d.SnapshotID); err != nil {
			return nil, err
		}
	}
	t := model.ImportTask{
		ID: model.NewID(model.ImportPrefix), OwnerID: c.id, Node: node, State: model.TaskActive, Message: "pending", Description: r.Description,
		Arch: r.Arch, Mode: r.Mode, Disks: r.Disks, Domain: r.Domain, ImageID: model.NewID(model.ImagePrefix), Created: c.Now(), Tags: r.Tags,
	}
	t.ImageName = cmp.Or(r.Tags[ImageNameTag], t.ID)
	if err := c.takeName(tx, t.ImageName, t.ImageID); err != nil {
		return nil, err
	}
	return []string{t.ID}, records.Imports.Put(tx, &t)
}

// checkImportDisk fills in where a disk comes from and what it is called.
func (c *Account) checkImportDisk(d *model.ImportDisk, index int) error {
	if d.Device == "" {
		d.Device = "/dev/sda1"
		if index > 0 {
			if d.Device = model.DataDevice(index); d.Device == "" {
				return model.Errorf(model.CodeInvalidParameterValue, "%d disks are too many", index+1)
			}
		}
	}
	if !deviceName.MatchString(d.Device) {
		return model.Errorf(model.CodeInvalidParameterValue, "Invalid device name %s", d.Device)
	}
	sources := 0
	for _, s := range []string{d.URL, d.Bucket + d.Key, d.SnapshotID, d.File} {
		if s != "" {
			sources++
		}
	}
	if sources != 1 {
		return model.Errorf(model.CodeInvalidParameterCombination, "A disk container must have exactly one of Url, UserBucket and SnapshotId")
	}
	if d.SnapshotID != "" {
		return nil
	}
	d.Format = model.DiskFormat(strings.ToUpper(string(d.Format)))
	switch d.Format {
	case model.FormatRaw, model.FormatVMDK, model.FormatVHD, model.FormatVHDX, model.FormatQcow2, model.FormatOVA:
	case "":
		return model.Errorf(model.CodeMissingParameter, "The request must contain the parameter Format of the disk container")
	default:
		return model.Errorf(model.CodeUnsupportedOperation, "The disk format %s is not supported", d.Format).WithHint("supported: RAW, VMDK, VHD, VHDX, QCOW2, OVA; compressed by gzip, xz, zstd or bzip2 or not")
	}
	if d.File != "" {
		return nil
	}
	if d.URL == "" {
		return checkObject(d.Bucket, d.Key)
	}
	if digest, ok := strings.CutPrefix(d.URL, uploadScheme); ok {
		blob, err := c.blobs.OpenBlob(digest)
		if err != nil {
			return model.Errorf(model.CodeInvalidParameterValue, "Url %q: no such upload", d.URL).WithHint("bundt image import uploads the file first")
		}
		d.Blob = digest
		return blob.Close()
	}
	u, err := url.Parse(d.URL)
	if err != nil {
		return model.Errorf(model.CodeInvalidParameterValue, "Url %q: %v", d.URL, err)
	}
	switch u.Scheme {
	case "http", "https":
		return checkWebURL(d, u)
	case "s3":
		d.Bucket, d.Key = u.Host, strings.TrimPrefix(u.Path, "/")
		return checkObject(d.Bucket, d.Key)
	case "file":
		d.Bucket, d.Key, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		return checkObject(d.Bucket, d.Key)
	}
	return model.Errorf(model.CodeUnsupportedOperation, "Url %q: the scheme is not supported", d.URL).
		WithHint("supported: https://, http://, s3://BUCKET/KEY and file:///BUCKET/KEY in the account's bucket directory, and upload:sha256:DIGEST")
}

// webDigest is the form of a fragment that says what an http URL's content must be.
var webDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// checkWebURL checks the URL of a disk that is to be downloaded. Where it may lead
// is its node's to decide.
func checkWebURL(d *model.ImportDisk, u *url.URL) error {
	switch {
	case u.Hostname() == "":
		return model.Errorf(model.CodeInvalidParameterValue, "Url %q: there is no host in it", d.URL)
	case u.User != nil: // it would be shown to everyone who sees the task
		return model.Errorf(model.CodeInvalidParameterValue, "Url: it must not have a user or password in it")
	case u.Fragment != "" && !webDigest.MatchString(u.Fragment):
		return model.Errorf(model.CodeInvalidParameterValue, "Url %q: %q is no digest", d.URL, u.Fragment).WithHint("https://HOST/PATH#sha256:HEX says what must be there")
	}
	d.Digest = u.Fragment
	return nil
}

// checkObject checks a path below the bucket directory.
func checkObject(bucket, key string) error {
	if !bucketName.MatchString(bucket) || strings.Contains(bucket, "..") {
		return model.Errorf("InvalidS3Bucket", "%q is no name of a bucket", bucket)
	}
	if key == "" || path.Clean("/"+key) != "/"+key || strings.ContainsAny(key, "\x00\\") {
		return model.Errorf(model.CodeInvalidParameterValue, "%q is no key of a file in a bucket", key)
	}
	return nil
}

// ImportTasks returns the account's import tasks.
func (c *Account) ImportTasks(ctx context.Context) ([]model.ImportTask, error) {
	return owned(ctx, c, records.Imports)
}

// CancelImport ends an import task; its node takes back what it has done. It
// returns the state before.
func (c *Account) CancelImport(ctx context.Context, id, reason string) (before, after model.TaskState, err error) {
	if err := model.CheckID(model.ImportPrefix, id); err != nil {
		return "", "", model.Errorf("InvalidConversionTaskId.Malformed", "Invalid id: %v", err)
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		t, err := own(c, tx, records.Imports, id, importNotFound(id))
		if err != nil {
			return err
		}
		before, after = t.State, model.TaskDeleting
		switch t.State {
		case model.TaskDeleting:
			return nil
		case model.TaskActive:
			t.State, t.Message = model.TaskDeleting, cmp.Or(reason, "Cancelled by user")
			return records.Imports.Put(tx, &t)
		}
		return model.Errorf("IncorrectState", "The task %s is %s and cannot be cancelled", id, t.State)
	})
	return before, after, err
}

func importNotFound(id string) *model.Error {
	return model.Errorf("InvalidConversionTaskId", "The import task '%s' does not exist", id)
}

// ImageExport is what ExportImage asks for.
type ImageExport struct {
	ImageID        string
	Description    string
	Format         model.DiskFormat
	Bucket, Prefix string
	Tags           model.Tags
	ClientToken    string `json:"-"`
}

// ExportImage writes the intent to write an image's disks to files. The layers
// that it needs stay until it is done, even if the image goes.
func (c *Account) ExportImage(ctx context.Context, r ImageExport) (t model.ExportTask, err error) {
	if err := checkTags(r.Tags); err != nil {
		return t, err
	}
	if err := checkDescription(r.Description); err != nil {
		return t, err
	}
	if err := checkObject(r.Bucket, r.Prefix+"x"); err != nil {
		return t, err
	}
	hash, err := paramsHash(r)
	if err != nil {
		return t, err
	}
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		ids, err := c.idempotent(tx, "ExportImage", r.ClientToken, hash, func() ([]string, error) { return c.newExport(tx, r) })
		if err != nil {
			return err
		}
		t, err = own(c, tx, records.Exports, ids[0], model.Errorf("InvalidExportTaskID.NotFound", "The export task '%s' does not exist", ids[0]))
		return err
	})
	return t, err
}

func (c *Account) newExport(tx *store.Tx, r ImageExport) ([]string, error) {
	img, err := c.ownImage(tx, r.ImageID)
	if err != nil {
		return nil, err
	}
	if img.State != model.ImageAvailable && img.State != model.ImageDisabled {
		return nil, unavailable(&img, "exported")
	}
	if err := mayLeave(&img, "exported"); err != nil {
		return nil, err
	}
	if r.Format == model.FormatOVA && img.Arch == model.ARM64 {
		return nil, model.Errorf(model.CodeUnsupportedOperation, "The image %s is for arm64, and machines in OVA archives are PCs", img.ID).
			WithHint("export its disks, as RAW, QCOW2, VMDK or VHD")
	}
	node, err := c.bakery(tx)
	if err != nil {
		return nil, err
	}
	if err := mayTravel(&img, "exported"); err != nil {
		return nil, err
	}
	t := model.ExportTask{
		ID: model.NewID(model.ExportPrefix), OwnerID: c.id, Node: node, State: model.TaskActive, Message: "pending", Description: r.Description,
		ImageID: img.ID, Format: r.Format, Bucket: r.Bucket, Prefix: r.Prefix, Created: c.Now(), Tags: r.Tags,
		Name: img.Name, Arch: img.Arch, UEFI: img.Boot.Firmware == model.FirmwareUEFI,
	}
	for _, b := range rootFirst(&img) {
		if b.SnapshotID == "" {
			continue
		}
		snap, err := get(tx, records.Snapshots, b.SnapshotID, snapshotNotFound(b.SnapshotID))
		if err != nil {
			return nil, err
		}
		key := r.Prefix + t.ID
		if b.Device != img.RootDevice && r.Format != model.FormatOVA {
			key += "-" + path.Base(b.Device)
		}
		t.Disks = append(t.Disks, model.ExportDisk{LayerID: snap.LayerID, Key: fmt.Sprintf("%s.%s", key, strings.ToLower(string(r.Format)))})
	}
	return []string{t.ID}, records.Exports.Put(tx, &t)
}

// rootFirst are an image's disks, the root disk first.
func rootFirst(img *model.Image) []model.BlockDevice {
	all := slices.Clone(img.BlockDevices)
	if i := slices.IndexFunc(all, func(b model.BlockDevice) bool { return b.Device == img.RootDevice }); i > 0 {
		root := all[i]
		all = slices.Insert(slices.Delete(all, i, i+1), 0, root)
	}
	return all
}

// ExportTasks returns the account's export tasks.
func (c *Account) ExportTasks(ctx context.Context) ([]model.ExportTask, error) {
	return owned(ctx, c, records.Exports)
}
