package bake_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/ulikunitz/xz"

	"github.com/bundt/bundt/pkg/bake"
	"github.com/bundt/bundt/pkg/checksum"
	"github.com/bundt/bundt/pkg/disk"
	"github.com/bundt/bundt/pkg/fetch"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

// signer is a distributor's key.
type signer struct{ *openpgp.Entity }

// newSigner makes a key of a year ago, which expires after that many seconds, if not 0.
func newSigner(t *testing.T, seconds uint32) signer {
	t.Helper()
	made := time.Now().AddDate(-1, 0, 0)
	e, err := openpgp.NewEntity("Images", "", "images@example.org", &packet.Config{Time: func() time.Time { return made }, KeyLifetimeSecs: seconds, Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	return signer{e}
}

func (s signer) fingerprint() string { return fmt.Sprintf("%X", s.PrimaryKey.Fingerprint) }

func (s signer) public(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := s.Serialize(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// early is when signatures are made: when keys that expire had not yet.
func (s signer) early() *packet.Config {
	return &packet.Config{Time: func() time.Time { return s.PrimaryKey.CreationTime.Add(time.Minute) }}
}

func (s signer) detached(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&out, s.Entity, strings.NewReader(text), s.early()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (s signer) clearsigned(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := clearsign.Encode(&out, s.PrivateKey, s.early())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// distributor is a server of images, in memory.
type distributor struct {
	*httptest.Server
	files    map[string][]byte
	breakAt  int // bytes after which answers with images break off, 0 for never
	requests []string
}

func newDistributor(t *testing.T, files map[string][]byte) *distributor {
	t.Helper()
	d := &distributor{files: files}
	d.Server = httptest.NewServer(d)
	t.Cleanup(d.Close)
	return d
}

func (d *distributor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.requests = append(d.requests, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("Range")))
	content, ok := d.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	out := w
	if d.breakAt > 0 && len(content) > d.breakAt {
		out = &cutOff{w, d.breakAt}
	}
	http.ServeContent(out, r, "", time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), bytes.NewReader(content))
}

type cutOff struct {
	http.ResponseWriter
	left int
}

func (c *cutOff) Write(p []byte) (int, error) {
	if len(p) > c.left {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

// rawDisk has something at its beginning and its end.
func rawDisk(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i * 7 / 3)
	}
	return b
}

// qcow2Of is an image of that disk, as distributors publish them.
func qcow2Of(t *testing.T, raw []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "raw"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := disk.Convert(t.Context(), filepath.Join(dir, "raw"), "raw", filepath.Join(dir, "qcow2"), disk.ConvertOptions{Compress: true}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// imageRequest asks for a recipe of a distributor's image, whose server has a mirror.
func imageRequest(t *testing.T, source string, mirror string, keys []byte) bake.Request {
	t.Helper()
	text := "apiVersion: bundt/v1\nname: distro\nversion: \"1\"\narchitectures: [x86_64]\nboot: {firmware: bios}\nsource:\n  url:\n" + source + "blockDevices: [{device: /dev/sda1, size: 4MiB}]\n"
	context := fstest.MapFS{"recipe.yaml": {Data: []byte(text)}, "keys": {Data: keys}}
	r, err := recipe.Load(context)
	if err != nil {
		t.Fatal(err)
	}
	var mirrors fetch.Mirrors
	if mirror != "" {
		mirrors = fetch.Mirrors{{From: "https://images.example.org", To: mirror}}
	}
	return bake.Request{Recipe: r, Context: context, Arch: model.X8664, CacheDir: t.TempDir(), WorkDir: t.TempDir(), Fetch: fetch.New(fetch.Options{Mirrors: mirrors})}
}

const (
	ubuntuPath = "/releases/noble/release/ubuntu-24.04-server-cloudimg-amd64.img"
	ubuntuSums = "/releases/noble/release/SHA256SUMS"
)

// ubuntuSource is a source with a detached signature; clearSource with one in the file.
func ubuntuSource(s signer) string {
	return `    url: https://images.example.org/releases/noble/release/ubuntu-24.04-server-cloudimg-{arch}.img
    arch: {x86_64: amd64}
    checksums:
      url: https://images.example.org/releases/noble/release/SHA256SUMS
      signature: https://images.example.org/releases/noble/release/SHA256SUMS.gpg
      key: keys
      fingerprints: [` + s.fingerprint() + "]\n"
}

const fedoraDir = "/pub/fedora/linux/releases/44/Cloud/x86_64/images/"

func fedoraSource(s signer) string {
	return `    url: https://images.example.org` + fedoraDir + `Fedora-Cloud-Base-Generic-44-1.7.{arch}.qcow2
    checksums:
      url: https://images.example.org` + fedoraDir + `Fedora-Cloud-44-1.7-{arch}-CHECKSUM
      key: keys
      fingerprints: [` + s.fingerprint() + "]\n"
}

const debianSource = `    url: https://images.example.org/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2
    checksums: {url: "https://images.example.org/images/cloud/bookworm/latest/SHA512SUMS"}
`

const alpineDir = "/alpine/v3.24/releases/cloud/"

const alpineSource = `    url: https://images.example.org` + alpineDir + `generic_alpine-3.24.1-x86_64-bios-cloudinit-r0.qcow2
    checksums: {url: "https://images.example.org` + alpineDir + `generic_alpine-3.24.1-x86_64-bios-cloudinit-r0.qcow2.sha512"}
`

func sha512Of(b []byte) string { return fmt.Sprintf("%x", sha512.Sum512(b)) }

// TestImageOfDistributors bakes from servers that are laid out as the distributors' are.
func TestImageOfDistributors(t *testing.T) {
	raw := rawDisk(3 << 20)
	image := qcow2Of(t, raw)
	key, second := newSigner(t, 0), newSigner(t, 0)
	ubuntu := sum([]byte("another")) + " *ubuntu-24.04-server-cloudimg-arm64.img\n" + sum(image) + " *ubuntu-24.04-server-cloudimg-amd64.img\n"
	fedora := "# Fedora-Cloud-Base-Generic-44-1.7.x86_64.qcow2: 3 bytes\nSHA256 (Fedora-Cloud-Base-Generic-44-1.7.x86_64.qcow2) = " + sum(image) + "\n"
	for name, test := range map[string]struct {
		source string
		keys   []byte
		files  map[string][]byte
		says   string // of the checksums
		input  string
	}{
		"Ubuntu": {
			ubuntuSource(key), append(second.public(t), key.public(t)...),
			map[string][]byte{ubuntuPath: image, ubuntuSums: []byte(ubuntu), ubuntuSums + ".gpg": key.detached(t, ubuntu)},
			"signed by " + key.fingerprint(), "checksums SHA256SUMS signed by " + key.fingerprint(),
		},
		"Fedora": {
			fedoraSource(key), key.public(t),
			map[string][]byte{fedoraDir + "Fedora-Cloud-Base-Generic-44-1.7.x86_64.qcow2": image, fedoraDir + "Fedora-Cloud-44-1.7-x86_64-CHECKSUM": key.clearsigned(t, fedora)},
			"signed by " + key.fingerprint(), "checksums Fedora-Cloud-44-1.7-x86_64-CHECKSUM signed by " + key.fingerprint(),
		},
		"Debian": {
			debianSource, nil,
			map[string][]byte{
				"/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2": image,
				"/images/cloud/bookworm/latest/SHA512SUMS":                         []byte(sha512Of(image) + "  debian-12-genericcloud-amd64.qcow2\n"),
			},
			"not signed: as 127.0.0.1:", "checksums SHA512SUMS, not signed, from the mirror 127.0.0.1:",
		},
		"Alpine": {
			alpineSource, nil,
			map[string][]byte{
				alpineDir + "generic_alpine-3.24.1-x86_64-bios-cloudinit-r0.qcow2":        image,
				alpineDir + "generic_alpine-3.24.1-x86_64-bios-cloudinit-r0.qcow2.sha512": []byte(sha512Of(image) + "\n"),
			},
			"not signed", "checksums generic_alpine-3.24.1-x86_64-bios-cloudinit-r0.qcow2.sha512, not signed",
		},
		"a digest in the recipe": {
			"    url: https://images.example.org/disk.raw.xz\n    format: raw\n    digest: sha256:" + sum(xzOf(t, raw)) + "\n", nil,
			map[string][]byte{"/disk.raw.xz": xzOf(t, raw)}, "", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := newDistributor(t, test.files)
			req := imageRequest(t, test.source, server.URL, test.keys)
			var said []string
			req.Progress = func(e bake.Event) {
				if e.Done {
					said = append(said, fmt.Sprintf("%s: %s %v", e.Step, e.Detail, e.Cached))
				}
			}
			res, err := bake.Bake(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			checkDisk(t, res, raw, 4<<20)
			if test.says != "" && !strings.Contains(said[0], "verify checksums: "+test.says) {
				t.Errorf("the steps said %q", said)
			}
			hasInput(t, res.Inputs, "disk image ", " of 2026-10-01")
			if test.input != "" {
				hasInput(t, res.Inputs, test.input, "")
			}
			// Again, from the cache: nothing but the checksums is asked for.
			server.requests, said = nil, nil
			req.WorkDir = t.TempDir()
			if _, err := bake.Bake(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			for _, r := range server.requests {
				if strings.HasSuffix(r, ".img") || strings.HasSuffix(r, ".qcow2") || strings.HasSuffix(r, ".xz") {
					t.Errorf("the image was downloaded again: %q", server.requests)
				}
			}
			// And without the server.
			server.Close()
			req.WorkDir = t.TempDir()
			if res, err = bake.Bake(t.Context(), req); err != nil {
				t.Fatalf("with the server away: %v", err)
			}
			checkDisk(t, res, raw, 4<<20)
			hasInput(t, res.Inputs, "disk image ", " of 2026-10-01")
		})
	}
}

func checkDisk(t *testing.T, res *bake.Result, raw []byte, size int64) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "raw")
	if err := disk.Export(t.Context(), res.Disks[0].Path, out, "raw", disk.ConvertOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil || res.Disks[0].SizeBytes != size || int64(len(got)) != size || !bytes.Equal(got[:len(raw)], raw) || len(bytes.Trim(got[len(raw):], "\x00")) > 0 {
		t.Errorf("the disk has %d bytes (it says %d), want the image's and %d in all: %v", len(got), res.Disks[0].SizeBytes, size, err)
	}
}

func hasInput(t *testing.T, inputs []model.Input, prefix, suffix string) {
	t.Helper()
	if !slices.ContainsFunc(inputs, func(i model.Input) bool {
		return strings.HasPrefix(i.Name, prefix) && strings.HasSuffix(i.Name, suffix) && strings.HasPrefix(i.Digest, "sha256:") && strings.HasPrefix(i.URI, "https://images.example.org/")
	}) {
		t.Errorf("no input %q…%q among %+v", prefix, suffix, inputs)
	}
}

// TestImageRefused has something wrong with what a distributor's server says or sends.
// Nothing may be left in the cache that a later bake would take for good.
func TestImageRefused(t *testing.T) {
	image := rawDisk(256 << 10)
	key, other, expired := newSigner(t, 0), newSigner(t, 0), newSigner(t, 3600)
	sums := sum(image) + " *ubuntu-24.04-server-cloudimg-amd64.img\n"
	wrong := sum([]byte("x")) + " *ubuntu-24.04-server-cloudimg-amd64.img\n"
	unlisted := sum(image) + " *ubuntu-24.04-server-cloudimg-amd64.img.manifest\n"
	for name, test := range map[string]struct {
		key       signer
		sums      string
		signature []byte // nil for none
		source    func(signer) string
		want      string
		err       error
		fetched   bool // the image was asked for
	}{
		"an image with another digest":   {key, wrong, key.detached(t, wrong), ubuntuSource, "nothing of it is used", fetch.ErrDigest, true},
		"checksums signed by another":    {key, sums, other.detached(t, sums), ubuntuSource, "none of the keys " + key.fingerprint(), checksum.ErrSignature, false},
		"checksums changed after that":   {key, sums, key.detached(t, wrong), ubuntuSource, "SHA256SUMS", checksum.ErrSignature, false},
		"an expired key":                 {expired, sums, expired.detached(t, sums), ubuntuSource, "key expired", checksum.ErrSignature, false},
		"no signature":                   {key, sums, nil, ubuntuSource, "/SHA256SUMS.gpg: downloading: the server does not have it", fetch.ErrNotFound, false},
		"a signature that is a page":     {key, sums, []byte("<html>"), ubuntuSource, "verifying the signature of https://images.example.org", checksum.ErrSignature, false},
		"checksums without the name":     {key, unlisted, key.detached(t, unlisted), ubuntuSource, "ubuntu-24.04-server-cloudimg-amd64.img: the checksum file does not list it", checksum.ErrNotListed, false},
		"clearsigned by another":         {key, string(other.clearsigned(t, sums)), nil, clearSource, "none of the keys", checksum.ErrSignature, false},
		"clearsigned by an expired key":  {expired, string(expired.clearsigned(t, sums)), nil, clearSource, "key expired", checksum.ErrSignature, false},
		"clearsigned and changed":        {key, strings.Replace(string(key.clearsigned(t, sums)), sum(image), sum([]byte("x")), 1), nil, clearSource, "", checksum.ErrSignature, false},
		"not clearsigned at all":         {key, sums, nil, clearSource, "not signed in itself", checksum.ErrSignature, false},
		"clearsigned without the name":   {key, string(key.clearsigned(t, unlisted)) + sums, nil, clearSource, "", checksum.ErrNotListed, false},
		"a fingerprint that is no key's": {other, sums, key.detached(t, sums), func(signer) string { return ubuntuSource(key) }, "no key with the fingerprint " + key.fingerprint(), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{ubuntuPath: image, ubuntuSums: []byte(test.sums)}
			if test.signature != nil {
				files[ubuntuSums+".gpg"] = test.signature
			}
			server := newDistributor(t, files)
			req := imageRequest(t, test.source(test.key), server.URL, test.key.public(t))
			_, err := bake.Bake(t.Context(), req)
			if err == nil || test.err != nil && !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q, %v", err, test.want, test.err)
			}
			if asked := slices.Contains(server.requests, ubuntuPath); asked != test.fetched {
				t.Errorf("requests were %q", server.requests)
			}
			for _, kind := range []string{"sha256", "sha512", "partial"} {
				if left, _ := filepath.Glob(filepath.Join(req.CacheDir, kind, "*")); len(left) > 0 {
					t.Errorf("in the cache is %q", left)
				}
			}
		})
	}
}

func clearSource(s signer) string {
	return strings.Replace(ubuntuSource(s), "      signature: https://images.example.org/releases/noble/release/SHA256SUMS.gpg\n", "", 1)
}

// TestImageResumed has a server that breaks off, and a bake that ends before all is there.
func TestImageResumed(t *testing.T) {
	image := rawDisk(1 << 20)
	digest := "sha256:" + sum(image)
	source := "    url: https://images.example.org/disk.raw\n    format: raw\n    digest: " + digest + "\n"
	server := newDistributor(t, map[string][]byte{"/disk.raw": image})
	server.breakAt = 400 << 10
	req := imageRequest(t, source, server.URL, nil)
	res, err := bake.Bake(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	checkDisk(t, res, image, 4<<20)
	if len(server.requests) != 3 || server.requests[1] != "/disk.raw bytes=409600-" {
		t.Errorf("requests were %q", server.requests)
	}

	// Another bake, on another cache, is cancelled half way; the next one goes on.
	req = imageRequest(t, source, server.URL, nil)
	ctx, cancel := context.WithCancel(t.Context())
	server.requests = nil
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(server.requests) == 1 {
			cancel()
			<-r.Context().Done()
			return
		}
		server.ServeHTTP(w, r)
	})
	if _, err := bake.Bake(ctx, req); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	server.Config.Handler = server
	server.requests, server.breakAt = nil, 0
	req.WorkDir = t.TempDir()
	if res, err = bake.Bake(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	checkDisk(t, res, image, 4<<20)
	if len(server.requests) != 1 || server.requests[0] != "/disk.raw bytes=409600-" {
		t.Errorf("after the interruption, requests were %q", server.requests)
	}
}

// TestImageTogether has several bakes of one image at once: it is downloaded once.
func TestImageTogether(t *testing.T) {
	image := rawDisk(1 << 20)
	server := newDistributor(t, map[string][]byte{"/disk.raw": image})
	req := imageRequest(t, "    url: https://images.example.org/disk.raw\n    format: raw\n    digest: sha256:"+sum(image)+"\n", server.URL, nil)
	failed := make(chan error)
	for range 3 {
		go func() {
			req := req
			req.WorkDir = t.TempDir()
			_, err := bake.Bake(t.Context(), req)
			failed <- err
		}()
	}
	for range 3 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if len(server.requests) != 1 {
		t.Errorf("requests were %q", server.requests)
	}
}

func TestImageHints(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	req := imageRequest(t, debianSource, gone.URL, nil)
	_, err := bake.Bake(t.Context(), req)
	for _, want := range []string{"this host cannot reach images.example.org", "--image-mirror https://images.example.org=URL", "bundt run debian-12-offline"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
	// A user's recipe does not lead to the host itself.
	server := newDistributor(t, map[string][]byte{"/disk.raw": nil})
	req = imageRequest(t, "    url: "+server.URL+"/disk.raw\n    digest: sha256:"+sum(nil)+"\n", "", nil)
	if _, err := bake.Bake(t.Context(), req); !errors.Is(err, fetch.ErrRefused) || len(server.requests) > 0 {
		t.Errorf("to the host itself: %v after %q", err, server.requests)
	}
}

// TestImageHostile refuses an image that names a file of the host.
func TestImageHostile(t *testing.T) {
	image := qcow2Of(t, rawDisk(1<<20))
	copy(image[8:16], []byte{0, 0, 0, 0, 0, 0, 0x02, 0x00}) // backing file at 512
	copy(image[16:20], []byte{0, 0, 0, 11})                 // of that length
	copy(image[512:], "/etc/passwd")
	server := newDistributor(t, map[string][]byte{"/disk.img": image})
	req := imageRequest(t, "    url: https://images.example.org/disk.img\n    digest: sha256:"+sum(image)+"\n", server.URL, nil)
	if _, err := bake.Bake(t.Context(), req); !errors.Is(err, disk.ErrHostile) {
		t.Errorf("error is %v", err)
	}
}

// TestImageBootFiles takes kernel and initial RAM file system out of an image's file system.
func TestImageBootFiles(t *testing.T) {
	const text = "apiVersion: bundt/v1\nname: t\nversion: \"1\"\narchitectures: [x86_64]\nboot: {firmware: bios}\nsource: {tree: root}\n" +
		"files: [{path: /vmlinuz, symlink: boot/vmlinuz-6.1}]\nblockDevices: [{device: /dev/sda1, size: 64MiB}]\n"
	context := fstest.MapFS{"recipe.yaml": {Data: []byte(text)}, "root/boot/vmlinuz-6.1": {Data: []byte("kernel")}, "root/boot/initrd.img": {Data: rawDisk(100 << 10)}, "root/etc/hostname": {Data: []byte("t\n")}}
	r, err := recipe.Load(context)
	if err != nil {
		t.Fatal(err)
	}
	made, err := bake.Bake(t.Context(), bake.Request{Recipe: r, Context: context, Arch: model.X8664, CacheDir: t.TempDir(), WorkDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(made.Disks[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	server := newDistributor(t, map[string][]byte{"/disk.img": image})
	for boot, want := range map[string]string{
		"firmware: none, kernel: /vmlinuz, initrd: /boot/initrd.img": "",
		"firmware: none, kernel: /boot/vmlinuz":                      "boot.kernel: there is no file /boot/vmlinuz in the image",
		"firmware: none, kernel: /vmlinuz, initrd: /boot":            "boot.initrd: there is no file /boot in the image",
	} {
		req := imageRequest(t, "    url: https://images.example.org/disk.img\n    digest: sha256:"+sum(image)+"\n", server.URL, nil)
		text := strings.Replace(string(req.Context.(fstest.MapFS)["recipe.yaml"].Data), "firmware: bios", boot, 1)
		if req.Recipe, err = recipe.Parse("r.yaml", []byte(text)); err != nil {
			t.Fatal(err)
		}
		res, err := bake.Bake(t.Context(), req)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error is %v, want %q", boot, err, want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		kernel, errKernel := os.ReadFile(res.Kernel)
		initrd, errInitrd := os.ReadFile(res.Initrd)
		if string(kernel) != "kernel" || !bytes.Equal(initrd, rawDisk(100<<10)) {
			t.Errorf("kernel %q (%v) and initrd of %d bytes (%v)", kernel, errKernel, len(initrd), errInitrd)
		}
	}
}

func TestImageState(t *testing.T) {
	image := []byte("v1")
	key := newSigner(t, 0)
	publish := func(d *distributor, image []byte) {
		sums := fmt.Sprintf("%x *ubuntu-24.04-server-cloudimg-amd64.img\n", sha256.Sum256(image))
		d.files[ubuntuSums], d.files[ubuntuSums+".gpg"] = []byte(sums), key.detached(t, sums)
	}
	server := newDistributor(t, map[string][]byte{})
	publish(server, image)
	req := imageRequest(t, ubuntuSource(key), server.URL, key.public(t))
	first, err := bake.ArchiveState(t.Context(), req)
	if err != nil || first != "sha256:"+sum(image) {
		t.Fatalf("the state is %q: %v", first, err)
	}
	publish(server, []byte("v2"))
	if second, err := bake.ArchiveState(t.Context(), req); err != nil || second == first {
		t.Errorf("after another image was published, the state is %q: %v", second, err)
	}
	pinned := imageRequest(t, "    url: https://images.example.org/disk.raw\n    digest: sha256:"+sum(image)+"\n", server.URL, nil)
	if state, err := bake.ArchiveState(t.Context(), pinned); err != nil || state != "" {
		t.Errorf("of what is pinned, the state is %q: %v", state, err)
	}
}

func xzOf(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := xz.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
