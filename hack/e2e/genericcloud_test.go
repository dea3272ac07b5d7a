//go:build vm && slow

package e2e

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/bundt/bundt/hack/harness"
	"github.com/bundt/bundt/images"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/bake"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
	"github.com/bundt/bundt/pkg/rootfs"
)

// The layout of Debian's genericcloud image, in sectors: boot partitions in front, and the
// root partition, whose number is 1, last, so that it can be grown.
const (
	sector    = 512
	biosStart = 2048
	efiStart  = 8192
	rootStart = 262144
	// diskTail is what follows the root partition: the backup of the partition table.
	diskTail = 1 << 20
	// What recipe.yaml mounts.
	rootGUID  = "b2a8ed4c-9f7d-4d3a-8f0c-6d1f0a5e0001"
	maxLoader = 8 << 20 // bytes of a boot loader's file
	efiGUID   = "b2a8ed4c-9f7d-4d3a-8f0c-6d1f0a5e000f"
)

// bakeGenericCloud installs what is in the image; it is kept in the cache.
func bakeGenericCloud(ctx context.Context, arch model.Arch, work string) (string, error) {
	fsys := os.DirFS(filepath.Join("testdata", "genericcloud"))
	r, err := recipe.Load(fsys)
	if err != nil {
		return "", err
	}
	made, err := bake.Bake(ctx, bake.Request{Recipe: r, Context: fsys, Arch: arch, CacheDir: cacheDir(), WorkDir: work})
	if err != nil {
		return "", fmt.Errorf("installing the cloud image for %s: %w", arch, err)
	}
	raw := filepath.Join(work, "root.raw")
	if out, err := exec.CommandContext(ctx, "qemu-img", "convert", "-O", "raw", made.Disks[0].Path, raw).CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpacking the installed system: %w: %s", err, out)
	}
	return raw, os.Remove(made.Disks[0].Path)
}

// bootLoaders says, for an architecture, which files of its packages go where in the EFI
// system partition.
var bootLoaders = map[model.Arch]map[string]string{
	model.X8664: {"/usr/lib/shim/shimx64.efi.signed": "BOOTX64.EFI", "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": "grubx64.efi"},
	model.ARM64: {"/usr/lib/shim/shimaa64.efi.signed": "BOOTAA64.EFI", "/usr/lib/grub/arm64-efi-signed/grubaa64.efi.signed": "grubaa64.efi"},
}

// cloudDisk makes the image that Debian would publish, a compressed qcow2 file.
func cloudDisk(t *testing.T, arch model.Arch) string {
	t.Helper()
	work := t.TempDir()
	installed, err := bakeGenericCloud(t.Context(), arch, work)
	must(t, err)
	src, err := os.Open(installed)
	must(t, err)
	defer src.Close()
	info, err := src.Stat()
	must(t, err)
	// The baked disk has a MiB before its root partition, and one behind.
	rootBytes := info.Size() - 2<<20
	raw := filepath.Join(work, "disk.raw")
	out, err := os.OpenFile(raw, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	must(t, err)
	defer out.Close()
	size := rootStart*sector + rootBytes + diskTail
	must(t, out.Truncate(size))
	w, err := file.New(out, false).Writable()
	must(t, err)
	must(t, partitions(arch, rootBytes).Write(w, size))
	must(t, copySparse(out, rootStart*sector, io.NewSectionReader(src, 1<<20, rootBytes)))
	root, err := rootfs.Open(src, info.Size())
	must(t, err)
	uuid := make([]byte, 16)
	_, err = src.ReadAt(uuid, 1<<20+1024+0x68) // of the ext4 superblock
	must(t, err)
	must(t, writeEFI(t.Context(), raw, root, arch, fmt.Sprintf("%x-%x-%x-%x-%x", uuid[:4], uuid[4:6], uuid[6:8], uuid[8:10], uuid[10:]), work))
	if arch == model.X8664 {
		must(t, writeGRUB(t.Context(), out, root, filepath.Join(work, "grub")))
	}
	image := filepath.Join(t.TempDir(), "image.qcow2")
	must(t, disk.Convert(t.Context(), raw, disk.FormatRaw, image, disk.ConvertOptions{Compress: true}))
	return image
}

func partitions(arch model.Arch, rootBytes int64) *gpt.Table {
	rootType := gpt.Type(disk.RootTypeX8664)
	if arch == model.ARM64 {
		rootType = gpt.Type(disk.RootTypeARM64)
	}
	table := &gpt.Table{LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true, Partitions: []*gpt.Partition{
		{Index: 1, Type: rootType, GUID: rootGUID, Start: rootStart, End: rootStart + uint64(rootBytes)/sector - 1, Size: uint64(rootBytes)},
	}}
	if arch == model.X8664 {
		table.Partitions = append(table.Partitions, &gpt.Partition{Index: 14, Type: gpt.BIOSBoot, Start: biosStart, End: efiStart - 1, Size: (efiStart - biosStart) * sector})
	}
	table.Partitions = append(table.Partitions, &gpt.Partition{Index: 15, Type: gpt.EFISystemPartition, GUID: efiGUID, Start: efiStart, End: rootStart - 1, Size: (rootStart - efiStart) * sector})
	return table
}

func copySparse(to io.WriterAt, at int64, from io.Reader) error {
	buf := make([]byte, 1<<20)
	for zero := make([]byte, len(buf)); ; {
		n, err := io.ReadFull(from, buf)
		if !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := to.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// writeEFI makes the EFI system partition as grub-install --removable does: shim, the signed
// GRUB, and what leads that to the root partition.
func writeEFI(ctx context.Context, raw string, root *rootfs.FS, arch model.Arch, rootUUID, work string) error {
	efi := fmt.Sprintf("%s@@%d", raw, efiStart*sector)
	steps := [][]string{
		{"mformat", "-i", efi, "-v", "EFI", "-T", fmt.Sprint(rootStart - efiStart), "-s", "32", "-h", "64", "::"},
		{"mmd", "-i", efi, "::/EFI", "::/EFI/BOOT", "::/EFI/debian"},
	}
	files := map[string][]byte{"debian/grub.cfg": []byte("search.fs_uuid " + rootUUID + " root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n")}
	for from, name := range bootLoaders[arch] {
		content, err := root.ReadFile(from, maxLoader)
		if err != nil {
			return err
		}
		files["BOOT/"+name] = content
	}
	for name, content := range files {
		from := filepath.Join(work, path.Base(name))
		if err := os.WriteFile(from, content, 0o600); err != nil {
			return err
		}
		steps = append(steps, []string{"mcopy", "-i", efi, from, "::/EFI/" + name})
	}
	for _, s := range steps {
		if out, err := exec.CommandContext(ctx, s[0], s[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("making the EFI system partition (%s of mtools): %w: %s", s[0], err, out)
		}
	}
	return nil
}

// The places in GRUB's boot sector and in the first sector of its core image that
// grub-bios-setup fills in (include/grub/i386/pc/boot.h of GRUB).
const (
	grubKernelSector = 0x5c
	grubDriveCheck   = 0x66
	grubBlockList    = 0x1f4
	mbrTable         = 0x1b8 // what partitioning tools own of the first sector
)

// writeGRUB makes the disk boot by BIOS, with GRUB's core image in a partition of its own.
func writeGRUB(ctx context.Context, to *os.File, root *rootfs.FS, modules string) error {
	wanted := []string{"biosdisk", "part_gpt", "ext2", "normal", "linux", "search", "search_label", "serial", "terminal", "gzio", "configfile", "echo"}
	if err := os.Mkdir(modules, 0o700); err != nil {
		return err
	}
	const dir = "/usr/lib/grub/i386-pc"
	err := root.WalkBelow(dir, func(e rootfs.Entry) error {
		if !e.Mode.IsRegular() {
			return nil
		}
		content, err := root.ReadFile(e.Path, maxLoader)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(modules, path.Base(e.Path)), content, 0o600)
	})
	if err != nil {
		return fmt.Errorf("reading GRUB's modules: %w", err)
	}
	image := filepath.Join(modules, "core.img.made")
	args := append([]string{"-d", modules, "-O", "i386-pc", "-o", image, "-p", "(hd0,gpt1)/boot/grub"}, wanted...)
	program := "grub-mkimage"
	if _, err := exec.LookPath(program); err != nil {
		program = "grub2-mkimage" // Fedora's
	}
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("making GRUB's core image: %w: %s", err, out)
	}
	core, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	boot, err := root.ReadFile(dir+"/boot.img", sector)
	if err != nil {
		return fmt.Errorf("reading GRUB's boot sector: %w", err)
	}
	le := binary.LittleEndian
	le.PutUint64(boot[grubKernelSector:], biosStart)
	le.PutUint16(boot[grubDriveCheck:], 0x9090) // believe the BIOS's number of the disk
	le.PutUint64(core[grubBlockList:], biosStart+1)
	if len(core) > (efiStart-biosStart)*sector {
		return fmt.Errorf("GRUB's core image has %d bytes", len(core))
	}
	if _, err := to.WriteAt(boot[:mbrTable], 0); err != nil {
		return err
	}
	_, err = to.WriteAt(core, biosStart*sector)
	return err
}

// debianCloud serves an image as https://cloud.debian.org/images/ does, and returns where.
func debianCloud(t *testing.T, image, arch string) string {
	t.Helper()
	content, err := os.ReadFile(image)
	must(t, err)
	name := "debian-12-genericcloud-" + arch + ".qcow2"
	sums := fmt.Sprintf("%x  debian-12-generic-%s.qcow2\n%x  %s\n", sha512.Sum512(nil), arch, sha512.Sum512(content), name)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /images/cloud/bookworm/latest/SHA512SUMS", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, sums) })
	mux.HandleFunc("GET /images/cloud/bookworm/latest/"+name, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, image) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL + "/images"
}

// TestSlowDistributorImage boots what the recipe debian-12 gets from Debian, through the
// firmware and GRUB: bundt's own recipe, and an image of the layout of Debian's.
func TestSlowDistributorImage(t *testing.T) {
	for _, c := range []struct {
		name     string
		arch     model.Arch
		debian   string
		kind     string
		firmware model.Firmware
	}{
		{"uefi", model.X8664, "amd64", "t3.small", model.FirmwareUEFI},
		{"bios", model.X8664, "amd64", "t3.small", model.FirmwareBIOS},
		{"arm64", model.ARM64, "arm64", "t4g.small", model.FirmwareUEFI},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := debianCloud(t, cloudDisk(t, c.arch), c.debian)
			d := newDaemon(t, func(o *harness.Options) {
				o.Cache = t.TempDir() // where nothing has been downloaded to yet
				o.Args = append(o.Args, "--image-mirror", "https://cloud.debian.org/images="+server)
			})
			distributorBoots(t, d, d.buildDebian12(t, c.arch, c.firmware), c.kind)
		})
	}
}

// buildDebian12 builds bundt's own recipe, with another firmware if that is not what it says.
func (d daemon) buildDebian12(t *testing.T, arch model.Arch, firmware model.Firmware) string {
	t.Helper()
	fsys, err := images.FS("debian-12")
	must(t, err)
	r, err := recipe.Load(fsys)
	must(t, err)
	if arch == model.X8664 && r.Boot.Firmware != firmware {
		dir := t.TempDir()
		must(t, os.CopyFS(dir, fsys))
		name := filepath.Join(dir, "recipe.yaml")
		text, err := os.ReadFile(name)
		must(t, err)
		was := fmt.Sprintf("  firmware: %s\n", r.Boot.Firmware)
		must(t, os.WriteFile(name, []byte(strings.Replace(string(text), was, fmt.Sprintf("  firmware: %s\n", firmware), 1)), 0o600))
		fsys = os.DirFS(dir)
	}
	id, err := d.Build(t.Context(), fsys, string(arch))
	must(t, err)
	return id
}

// grownGiB is a root volume's size that is more than the recipe's.
const grownGiB = 10

// distributorBoots is the boot test of a distributor's image.
func distributorBoots(t *testing.T, d daemon, image, kind string) {
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	first := d.launchDistributor(t, image, kind)
	ssh := func(id, script string) string {
		t.Helper()
		return d.cli(t, "ssh", "-i", key, id, "--", script)
	}
	if got := ssh(first, "cloud-init status --wait --long || sudo grep -A12 WARNING /var/log/cloud-init.log"); !strings.Contains(got, "status: done") || !strings.Contains(got, "DataSourceEc2") {
		t.Errorf("cloud-init says: %s", got)
	}
	if got := ssh(first, "cat /var/lib/cloud/data/instance-id; . /etc/os-release; echo $VERSION_CODENAME; whoami; sudo whoami"); got != first+"\nbookworm\ndebian\nroot" {
		t.Errorf("the guest is %q", got)
	}
	i := d.instance(t, first)
	const metadata = `M=http://169.254.169.254/latest; T=$(curl -sf -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" $M/api/token)
for k in ami-id instance-type local-ipv4; do curl -sf -H "X-aws-ec2-metadata-token: $T" $M/meta-data/$k; echo; done`
	if got, want := ssh(first, metadata), fmt.Sprintf("%s\n%s\n%s", image, kind, *i.PrivateIpAddress); got != want {
		t.Errorf("the metadata says %q, want %q", got, want)
	}
	var size int64
	if _, err := fmt.Sscan(ssh(first, "df --output=size -B1 / | tail -n 1"), &size); err != nil || size < grownGiB*9/10<<30 {
		t.Errorf("the root file system holds %d bytes of a volume of %d GiB (%v)", size, grownGiB, err)
	}
	if got := ssh(first, "mountpoint -q /boot/efi && ls /boot/efi/EFI; systemctl list-units --failed --no-legend --plain"); got != "BOOT\ndebian" {
		t.Errorf("the EFI system partition, and units that failed: %q", got)
	}
	const identity = "cat /etc/machine-id; ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2; hostname"
	one := strings.Fields(ssh(first, identity))
	// As AWS says it for images of instances: systemd makes another one.
	ssh(first, "sudo truncate -s 0 /etc/machine-id && sync")
	twinImage := d.cli(t, "create-image", first, "--name", "twin", "--no-reboot")
	d.available(t, twinImage)
	d.cli(t, "stop", first)
	console, err := d.console(t.Context(), first)
	must(t, err)
	if !strings.Contains(console, "Power down") {
		t.Errorf("the machine did not shut down in order: %q", console)
	}
	twin := d.launchDistributor(t, twinImage, kind)
	two := strings.Fields(ssh(twin, "cloud-init status --wait >/dev/null; "+identity))
	if len(one) != 3 || len(two) != 3 || one[0] == two[0] || one[1] == two[1] || one[2] == two[2] {
		t.Errorf("machine id, host key and host name are %v and of its twin %v", one, two)
	}
	d.cli(t, "rm", first, twin)
	d.nothingLeft(t)
}

func (d daemon) launchDistributor(t *testing.T, image, kind string) string {
	t.Helper()
	out, err := d.API.RunInstances(t.Context(), &ec2types.RunInstancesInput{
		ImageId: &image, InstanceType: &kind, KeyName: new("k"), MinCount: new(int32(1)), MaxCount: new(int32(1)),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{DeviceName: new("/dev/sda1"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: new(int32(grownGiB))}}},
	})
	must(t, err)
	id := *out.Instances[0].InstanceId
	d.cli(t, "wait", id, "reachable", "--timeout", "15m")
	return id
}
