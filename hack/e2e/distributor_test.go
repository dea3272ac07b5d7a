//go:build vm

package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/bundt/bundt/hack/harness"
	"github.com/bundt/bundt/images"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/bake"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

// cloudImage is the tiny guest as distributors publish theirs: one compressed qcow2
// file, with its kernel on its disk.
func cloudImage(t *testing.T) []byte {
	t.Helper()
	fsys, err := images.FS("tiny")
	must(t, err)
	r, err := recipe.Load(fsys)
	must(t, err)
	// Without a kernel to start it by, nothing is taken out of it.
	r.Boot = recipe.Boot{BootOptions: recipe.BootOptions{Firmware: model.FirmwareBIOS}}
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "work"), 0o700))
	made, err := bake.Bake(t.Context(), bake.Request{Recipe: r, Context: fsys, Arch: model.X8664, CacheDir: cacheDir(), WorkDir: filepath.Join(dir, "work")})
	must(t, err)
	must(t, disk.Convert(t.Context(), made.Disks[0].Path, disk.FormatQcow2, filepath.Join(dir, "image"), disk.ConvertOptions{Compress: true}))
	image, err := os.ReadFile(filepath.Join(dir, "image"))
	must(t, err)
	return image
}

const distributed = `apiVersion: bundt/v1
name: noble
version: 1.0.0
architectures: [x86_64]
boot:
  firmware: none
  kernel: /boot/vmlinuz
  initrd: /boot/initrd.img
  cmdline: root=/dev/vda1 rootfstype=ext4 rw console=ttyS0 quiet panic=5 cryptomgr.notests
source:
  url:
    url: https://cloud-images.ubuntu.com/releases/noble/release/ubuntu-24.04-server-cloudimg-{arch}.img
    arch: {x86_64: amd64}
    checksums:
      url: https://cloud-images.ubuntu.com/releases/noble/release/SHA256SUMS
      signature: https://cloud-images.ubuntu.com/releases/noble/release/SHA256SUMS.gpg
      key: key.gpg
      fingerprints: [FINGERPRINT]
blockDevices: [{device: /dev/sda1, size: 2GiB}]
metadata: {loginUser: root}
`

// TestDistributor: an image from a server that is laid out as Ubuntu's, verified by a
// signed file of checksums, boots and is reached by SSH. The download breaks off half
// way and goes on; what is not signed as it should be makes no image.
func TestDistributor(t *testing.T) {
	image := cloudImage(t)
	key, err := openpgp.NewEntity("Images", "", "images@example.org", nil)
	must(t, err)
	sums := fmt.Sprintf("%x *ubuntu-24.04-server-cloudimg-amd64.img\n", sha256.Sum256(image))
	var signature, public bytes.Buffer
	must(t, openpgp.ArmoredDetachSign(&signature, key, strings.NewReader(sums), nil))
	must(t, key.Serialize(&public))
	var parts atomic.Int32
	var forged atomic.Bool
	forged.Store(true)
	server := httptest.NewServer(http.StripPrefix("/ubuntu/releases/noble/release", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/SHA256SUMS":
			text := sums
			if forged.Load() {
				text = strings.Replace(sums, "amd64", "arm64", 1) + sums
			}
			_, _ = w.Write([]byte(text))
		case "/SHA256SUMS.gpg":
			_, _ = w.Write(signature.Bytes())
		case "/ubuntu-24.04-server-cloudimg-amd64.img":
			if parts.Add(1) == 1 {
				w.Header().Set("Content-Length", fmt.Sprint(len(image)))
				_, _ = w.Write(image[:len(image)/2])
				panic(http.ErrAbortHandler)
			}
			http.ServeContent(w, r, "", time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), bytes.NewReader(image))
		default:
			http.NotFound(w, r)
		}
	})))
	defer server.Close()

	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "recipe.yaml"), []byte(strings.Replace(distributed, "FINGERPRINT", fmt.Sprintf("%X", key.PrimaryKey.Fingerprint), 1)), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "key.gpg"), public.Bytes(), 0o600))
	d := newDaemon(t, func(o *harness.Options) {
		o.Cache = t.TempDir() // where nothing has been downloaded to yet
		o.Args = append(o.Args, "--image-mirror", "https://cloud-images.ubuntu.com="+server.URL+"/ubuntu")
	})
	if out, err := d.CLI(t.Context(), "build", dir).CombinedOutput(); err == nil || !strings.Contains(string(out), "the signature does not hold") || parts.Load() != 0 {
		t.Fatalf("with forged checksums: %v: %s, and %d requests for the image", err, out, parts.Load())
	}
	forged.Store(false)
	cmd := d.CLI(t.Context(), "build", dir)
	var progress bytes.Buffer
	cmd.Stderr = &progress
	if _, err := cmd.Output(); err != nil {
		t.Fatalf("building: %v: %s", err, &progress)
	}
	for _, want := range []string{"verify checksums signed by ", "fetch image ubuntu-24.04-server-cloudimg-amd64.img of 2026-10-01"} {
		if !strings.Contains(progress.String(), want) {
			t.Errorf("bundt build said %q, want %q", progress.String(), want)
		}
	}
	if parts.Load() != 2 {
		t.Errorf("the image was downloaded by %d requests", parts.Load())
	}

	file := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", file)
	id := d.cli(t, "run", "noble-1.0.0-x86_64", "--type", "b1.nano", "--key", "k", "--wait", "reachable", "--timeout", "3m")
	if got := d.cli(t, "ssh", "-i", file, id, "--", "cat /etc/hostname"); !strings.HasPrefix(got, "ip-") {
		t.Errorf("the guest says %q", got)
	}
	out, err := d.API.DescribeVolumes(t.Context(), &ec2types.DescribeVolumesInput{})
	must(t, err)
	if got := *out.Volumes[0].Size; got != 2 {
		t.Errorf("the root volume has %d GiB, want the recipe's 2", got)
	}
}
