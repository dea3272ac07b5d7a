package artifact

import (
	"encoding/json"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/model"
)

// schema is the version of Config.
const schema = 1

// Config is what an image says of itself.
type Config struct {
	Schema       int               `json:"schema"`
	Name         string            `json:"name"`
	Description  string            `json:"description,omitempty"`
	Architecture model.Arch        `json:"architecture"`
	Created      time.Time         `json:"created"`
	RootDevice   string            `json:"rootDevice"`
	Boot         Boot              `json:"boot"`
	LoginUser    string            `json:"loginUser,omitempty"`
	ENA          bool              `json:"ena,omitempty"`
	SriovNet     string            `json:"sriovNet,omitempty"`
	IMDS         string            `json:"imds,omitempty"`
	Consistency  model.Consistency `json:"consistency,omitempty"`
	Recipe       *model.RecipeRef  `json:"recipe,omitempty"`
	Disks        []Disk            `json:"disks"`
}

// Boot is model.Boot, with the kernel's and initial RAM disk's contents.
type Boot struct {
	Firmware model.Firmware `json:"firmware"`
	Mode     model.BootMode `json:"mode,omitempty"`
	Cmdline  string         `json:"cmdline,omitempty"`
	Kernel   string         `json:"kernel,omitempty"`
	VMLinux  string         `json:"vmlinux,omitempty"`
	Initrd   string         `json:"initrd,omitempty"`
}

// Disk is one block device of an image.
type Disk struct {
	Device              string   `json:"device"`
	SizeGiB             int64    `json:"sizeGiB"`
	DeleteOnTermination bool     `json:"deleteOnTermination"`
	VolumeType          string   `json:"volumeType,omitempty"`
	IOPS                int64    `json:"iops,omitempty"`
	Throughput          int64    `json:"throughput,omitempty"`
	Layers              []string `json:"layers,omitempty"` // contents, each on the one before; none: a blank disk
}

// NewConfig is the config of an image. chains are the contents of the layers of the
// block devices that have a snapshot, by device, the lowest first.
func NewConfig(img *model.Image, chains map[string][]string) Config {
	c := Config{
		Schema: schema, Name: img.Name, Description: img.Description, Architecture: img.Arch, Created: img.Baked(), RootDevice: img.RootDevice,
		Boot:      bootOf(img.Boot),
		LoginUser: img.LoginUser, ENA: img.ENA, SriovNet: img.SriovNet, IMDS: img.IMDS, Consistency: img.Consistency,
	}
	if img.Recipe != nil {
		ref := *img.Recipe
		ref.BuildID = "" // it means something in its own cloud only
		c.Recipe = &ref
	}
	for _, b := range img.BlockDevices {
		c.Disks = append(c.Disks, Disk{
			Device: b.Device, SizeGiB: b.SizeGiB, DeleteOnTermination: b.DeleteOnTermination,
			VolumeType: b.VolumeType, IOPS: b.IOPS, Throughput: b.Throughput, Layers: chains[b.Device],
		})
	}
	return c
}

// Content is the digest of what an image is made of, whatever it is called and wherever
// it is: its architecture, what it boots, and the contents of its disks. chains are as
// in NewConfig.
func Content(arch model.Arch, boot model.Boot, chains map[string][]string) (string, error) {
	text, err := json.Marshal(struct {
		Architecture model.Arch          `json:"architecture"`
		Boot         Boot                `json:"boot"`
		Disks        map[string][]string `json:"disks"`
	}{arch, bootOf(boot), chains})
	if err != nil {
		return "", fmt.Errorf("encoding what an image is made of: %w", err)
	}
	return Digest(text), nil
}

// Content is that of the image that the config describes.
func (c *Config) Content() (string, error) {
	chains := map[string][]string{}
	for _, d := range c.Disks {
		if len(d.Layers) > 0 {
			chains[d.Device] = d.Layers
		}
	}
	return Content(c.Architecture, c.Image().Boot, chains)
}

func bootOf(b model.Boot) Boot {
	return Boot{Firmware: b.Firmware, Mode: b.Mode, Cmdline: b.Cmdline, Kernel: b.KernelDigest, VMLinux: b.VMLinuxDigest, Initrd: b.InitrdDigest}
}

// Image is the image that a config describes, available, without an id, an owner
// and snapshots: what is in SnapshotID of its block devices is the caller's to say.
func (c *Config) Image() model.Image {
	img := model.Image{
		Name: c.Name, Description: c.Description, Arch: c.Architecture, State: model.ImageAvailable, RootDevice: c.RootDevice,
		Boot: model.Boot{
			Firmware: c.Boot.Firmware, Mode: c.Boot.Mode, Cmdline: c.Boot.Cmdline,
			KernelDigest: c.Boot.Kernel, VMLinuxDigest: c.Boot.VMLinux, InitrdDigest: c.Boot.Initrd,
		},
		LoginUser: c.LoginUser, ENA: c.ENA, SriovNet: c.SriovNet, IMDS: c.IMDS, Consistency: c.Consistency, Recipe: c.Recipe,
	}
	for _, d := range c.Disks {
		img.BlockDevices = append(img.BlockDevices, model.BlockDevice{
			Device: d.Device, SizeGiB: d.SizeGiB, DeleteOnTermination: d.DeleteOnTermination, VolumeType: d.VolumeType, IOPS: d.IOPS, Throughput: d.Throughput,
		})
	}
	return img
}

// contents are all contents that the config names, with their media types.
func (c *Config) contents() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, b := range []string{c.Boot.Kernel, c.Boot.VMLinux, c.Boot.Initrd} {
			if b != "" && !yield(b, BootType) {
				return
			}
		}
		for _, d := range c.Disks {
			for _, l := range d.Layers {
				if !yield(l, LayerType) {
					return
				}
			}
		}
	}
}

const (
	maxDisks      = 26
	maxDiskLayers = 512
	maxDiskGiB    = 16 << 10
	maxText       = 4096
)

var (
	deviceName = regexp.MustCompile(`^(/dev/)?[a-z][a-z0-9]{1,30}$`)
	userName   = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
)

func (c *Config) check() error {
	switch {
	case c.Schema != schema:
		return invalid("its config has the version %d, not %d: use a newer bundt", c.Schema, schema)
	case !c.Architecture.Valid():
		return invalid("its architecture is %q", c.Architecture)
	case c.LoginUser != "" && !userName.MatchString(c.LoginUser):
		return invalid("its login user is %q", c.LoginUser)
	case len(c.Name) > 128 || len(c.Description) > 255 || len(c.Boot.Cmdline) > maxText:
		return invalid("its name, description or kernel command line is too long")
	case !slices.Contains([]string{"", "v2.0"}, c.IMDS) || !slices.Contains([]string{"", "simple"}, c.SriovNet):
		return invalid("IMDS support %q, SR-IOV network support %q", c.IMDS, c.SriovNet)
	case !slices.Contains([]model.Consistency{"", model.ConsistencyStopped, model.ConsistencyFilesystem, model.ConsistencyCrash}, c.Consistency):
		return invalid("its consistency is %q", c.Consistency)
	}
	if r := c.Recipe; r != nil && (!sha256Digest.MatchString(r.Digest) || len(r.Name) > 63 || len(r.Version) > 63 || r.BuildID != "") {
		return invalid("its recipe is %q %q with the digest %q", r.Name, r.Version, r.Digest)
	}
	if err := c.Boot.check(c.Architecture); err != nil {
		return err
	}
	return c.checkDisks()
}

func (b *Boot) check(arch model.Arch) error {
	switch {
	case b.Firmware != model.FirmwareNone && b.Firmware != model.FirmwareBIOS && b.Firmware != model.FirmwareUEFI:
		return invalid("its firmware is %q", b.Firmware)
	case b.Firmware == model.FirmwareNone && b.Kernel == "":
		return invalid("it has neither firmware nor a kernel")
	case b.Firmware == model.FirmwareBIOS && arch == model.ARM64:
		return invalid("arm64 has no BIOS")
	case b.Kernel == "" && (b.VMLinux != "" || b.Initrd != "" || b.Cmdline != ""):
		return invalid("it has an initial RAM disk or a command line, but no kernel")
	}
	if b.Mode != "" {
		if _, err := model.FirmwareFor(b.Mode, arch); err != nil {
			return invalid("%v", err)
		}
	}
	return nil
}

func (c *Config) checkDisks() error {
	if len(c.Disks) == 0 || len(c.Disks) > maxDisks {
		return invalid("it has %d disks, not 1 to %d", len(c.Disks), maxDisks)
	}
	seen := map[string]bool{}
	for _, d := range c.Disks {
		switch {
		case !deviceName.MatchString(d.Device) || seen[d.Device]:
			return invalid("the device name %q is wrong, or there twice", d.Device)
		case d.SizeGiB < 1 || d.SizeGiB > maxDiskGiB:
			return invalid("disk %s has %d GiB", d.Device, d.SizeGiB)
		case len(d.Layers) > maxDiskLayers:
			return invalid("disk %s has %d layers; %d are the most", d.Device, len(d.Layers), maxDiskLayers)
		case d.IOPS < 0 || d.Throughput < 0 || len(d.VolumeType) > 16:
			return invalid("disk %s: volume type %q, %d IOPS, %d MiB/s", d.Device, d.VolumeType, d.IOPS, d.Throughput)
		case d.Device == c.RootDevice && len(d.Layers) == 0:
			return invalid("its root disk is blank")
		}
		seen[d.Device] = true
	}
	if !seen[c.RootDevice] {
		return invalid("its root device %q is not among its disks", c.RootDevice)
	}
	return nil
}
