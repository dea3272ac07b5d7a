package bake_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ulikunitz/xz"

	"github.com/bundt/bundt/pkg/bake"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

const packagesRecipe = `apiVersion: bundt/v1
name: t
version: "1"
architectures: [x86_64]
boot: {firmware: bios}
source:
  packages:
    distribution: debian
    suite: bookworm
    keyring: keys.gpg
    install:
      - name: hello
        take: [{from: "bin/*"}]
blockDevices: [{device: /dev/sda1, size: 64MiB}]
`

// deb makes a package with these files.
func deb(t *testing.T, files map[string]string) []byte {
	t.Helper()
	out := bytes.NewBufferString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{
		{"debian-binary", []byte("2.0\n")}, {"control.tar.xz", tarXZ(t, map[string]string{"./control": "Package: hello\nDescription: greets\n at length\n"})}, {"data.tar.xz", tarXZ(t, files)},
	} {
		fmt.Fprintf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		out.Write(m.data)
		if len(m.data)%2 == 1 {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

func tarXZ(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var data bytes.Buffer
	x, err := xz.NewWriter(&data)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(x)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, content)
	}
	if err := errors.Join(w.Close(), x.Close()); err != nil {
		t.Fatal(err)
	}
	return data.Bytes()
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// archive is a Debian mirror of one package, in memory.
type archive struct {
	files map[string][]byte
	keys  []byte
}

func newArchive(t *testing.T, pkg []byte, version string) *archive {
	t.Helper()
	return newDatedArchive(t, pkg, version, "")
}

// newDatedArchive is an archive whose release has more fields.
func newDatedArchive(t *testing.T, pkg []byte, version, fields string) *archive {
	t.Helper()
	a := &archive{files: map[string][]byte{}}
	pool := "pool/hello_" + version + ".deb"
	a.files["/debian/"+pool] = pkg
	var index bytes.Buffer
	x, err := xz.NewWriter(&index)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(x, "Package: hello\nVersion: %s\nFilename: %s\nSize: %d\nSHA256: %s\n\n", version, pool, len(pkg), sum(pkg))
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	a.files["/debian/dists/bookworm/main/binary-amd64/Packages.xz"] = index.Bytes()
	entity, err := openpgp.NewEntity("archive", "", "a@example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	var release, keys bytes.Buffer
	w, err := clearsign.Encode(&release, entity.PrivateKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(w, "Suite: bookworm\n"+fields+"SHA256:\n %s %d main/binary-amd64/Packages.xz\n", sum(index.Bytes()), index.Len())
	if err := errors.Join(w.Close(), entity.Serialize(&keys)); err != nil {
		t.Fatal(err)
	}
	a.files["/debian/dists/bookworm/InRelease"], a.keys = release.Bytes(), keys.Bytes()
	return a
}

func (a *archive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, ok := a.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Unix(1, 0), bytes.NewReader(b))
}

func request(t *testing.T, text string, context fstest.MapFS, mirror string) bake.Request {
	t.Helper()
	context["recipe.yaml"] = &fstest.MapFile{Data: []byte(text)}
	r, err := recipe.Load(context)
	if err != nil {
		t.Fatal(err)
	}
	return bake.Request{Recipe: r, Context: context, Arch: model.X8664, CacheDir: t.TempDir(), WorkDir: t.TempDir(), PackageMirror: mirror}
}

func lockFor(pkg []byte, version string, strict bool) []byte {
	return fmt.Appendf(nil, "apiVersion: bundt/v1\nstrict: %v\npackages:\n  x86_64:\n    - {name: hello, package: hello, version: \"%s\", suite: bookworm, path: pool/hello_%s.deb, size: %d, sha256: %s}\n",
		strict, version, version, len(pkg), sum(pkg))
}

func TestBakePackages(t *testing.T) {
	pkg := deb(t, map[string]string{"./bin/hello": "hello", "./usr/share/doc/x": "no"})
	a := newArchive(t, pkg, "1.0")
	srv := httptest.NewServer(a)
	defer srv.Close()
	ctx := fstest.MapFS{"keys.gpg": {Data: a.keys}, "recipe.lock": {Data: lockFor(pkg, "1.0", true)}}
	req := request(t, packagesRecipe, ctx, srv.URL+"/debian")
	first := mustBake(t, req)
	if len(first.Disks) != 1 || first.Disks[0].SizeBytes != 64<<20 {
		t.Errorf("disks are %+v", first.Disks)
	}

	// Again, with everything cached and the mirror gone: the same bytes.
	srv.Close()
	again := req
	again.WorkDir = t.TempDir()
	var cached int
	again.Progress = func(e bake.Event) {
		if e.Cached {
			cached++
		}
	}
	second := mustBake(t, again)
	if cached != 2 {
		t.Errorf("%d steps came from the cache, want fetch and extract", cached)
	}
	x, err1 := os.ReadFile(first.Disks[0].Path)
	y, err2 := os.ReadFile(second.Disks[0].Path)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Error("two bakes of the same inputs differ")
	}
	if !bytes.Contains(x, []byte("hello")) {
		t.Error("the package's file is not on the disk")
	}
}

func mustBake(t *testing.T, req bake.Request) *bake.Result {
	t.Helper()
	res, err := bake.Bake(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestLockDrift(t *testing.T) {
	old := deb(t, map[string]string{"./bin/hello": "old"})
	a := newArchive(t, deb(t, map[string]string{"./bin/hello": "new"}), "1.1")
	srv := httptest.NewServer(a)
	defer srv.Close()
	for _, strict := range []bool{true, false} {
		t.Run(fmt.Sprintf("strict=%v", strict), func(t *testing.T) {
			ctx := fstest.MapFS{"keys.gpg": {Data: a.keys}, "recipe.lock": {Data: lockFor(old, "1.0", strict)}}
			res, err := bake.Bake(t.Context(), request(t, packagesRecipe, ctx, srv.URL+"/debian"))
			if strict {
				if !errors.Is(err, bake.ErrLockDrift) {
					t.Errorf("error is %v, want ErrLockDrift", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s := fmt.Sprint(res.Inputs); !strings.Contains(s, "hello 1.1 (the lock's hello 1.0 is gone from the mirror") {
				t.Errorf("inputs do not tell of the drift: %s", s)
			}
		})
	}
}

func TestBadMirrors(t *testing.T) {
	pkg := deb(t, map[string]string{"./bin/hello": strings.Repeat("hello", 1000)})
	pool := "/debian/pool/hello_1.0.deb"
	for name, c := range map[string]struct {
		locked bool
		spoil  func(*archive)
		want   string
	}{
		"wrong digest": {true, func(a *archive) { a.files[pool] = append([]byte("x"), pkg[1:]...) }, "wrong digest"},
		"truncated":    {true, func(a *archive) { a.files[pool] = pkg[:20] }, "wrong digest"},
		"too large":    {true, func(a *archive) { a.files[pool] = append(bytes.Clone(pkg), 'x') }, "larger than expected"},
		"forged release": {false, func(a *archive) {
			r := a.files["/debian/dists/bookworm/InRelease"]
			a.files["/debian/dists/bookworm/InRelease"] = bytes.Replace(r, []byte("Suite"), []byte("suite"), 1)
		}, "verifying the signature"},
		"unsigned":        {false, func(a *archive) { a.files["/debian/dists/bookworm/InRelease"] = []byte("SHA256:\n") }, "not signed"},
		"nothing matches": {true, func(a *archive) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive(t, pkg, "1.0")
			c.spoil(a)
			srv := httptest.NewServer(a)
			defer srv.Close()
			ctx := fstest.MapFS{"keys.gpg": {Data: a.keys}}
			if c.locked {
				ctx["recipe.lock"] = &fstest.MapFile{Data: lockFor(pkg, "1.0", false)}
			}
			text := packagesRecipe
			if c.want == "" {
				text, c.want = strings.Replace(text, `"bin/*"`, `"sbin/*"`, 1), `no file that matches "sbin/*"`
			}
			req := request(t, text, ctx, srv.URL+"/debian")
			if _, err := bake.Bake(t.Context(), req); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
			leftovers, _ := filepath.Glob(filepath.Join(req.CacheDir, "*", ".new-*"))
			if len(leftovers) > 0 {
				t.Errorf("half-made files in the cache: %v", leftovers)
			}
		})
	}
}

// TestValidUntil checks that an index is not used after its time, and that pinned
// packages, which need none, are.
func TestValidUntil(t *testing.T) {
	pkg := deb(t, map[string]string{"./bin/hello": "hello"})
	for name, c := range map[string]struct {
		until  string
		locked bool
		want   string
	}{
		"fresh":            {time.Now().UTC().Add(time.Hour).Format(time.RFC1123), false, ""},
		"expired":          {"Sat, 01 Feb 2025 00:00:00 UTC", false, "has expired: it was valid until 2025-02-01 00:00:00"},
		"expired, but pin": {"Sat, 01 Feb 2025 00:00:00 UTC", true, ""},
		"nonsense":         {"tomorrow", false, "reading its Valid-Until"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newDatedArchive(t, pkg, "1.0", "Valid-Until: "+c.until+"\n")
			srv := httptest.NewServer(a)
			defer srv.Close()
			ctx := fstest.MapFS{"keys.gpg": {Data: a.keys}}
			if c.locked {
				ctx["recipe.lock"] = &fstest.MapFile{Data: lockFor(pkg, "1.0", true)}
			}
			_, err := bake.Bake(t.Context(), request(t, packagesRecipe, ctx, srv.URL+"/debian"))
			if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestDownloadResumes(t *testing.T) {
	pkg := deb(t, map[string]string{"./bin/hello": "hello"})
	a := newArchive(t, pkg, "1.0")
	var cut, ranges atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			ranges.Add(1)
		}
		if cut.Add(1) == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(pkg)))
			_, _ = w.Write(pkg[:len(pkg)/2])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		a.ServeHTTP(w, r)
	}))
	defer srv.Close()
	mustBake(t, request(t, packagesRecipe, fstest.MapFS{"keys.gpg": {Data: a.keys}, "recipe.lock": {Data: lockFor(pkg, "1.0", true)}}, srv.URL+"/debian"))
	if ranges.Load() != 1 {
		t.Errorf("%d requests for a range, want 1", ranges.Load())
	}
}

func TestFileMirror(t *testing.T) {
	pkg := deb(t, map[string]string{"./bin/hello": "hello"})
	a := newArchive(t, pkg, "1.0")
	dir := t.TempDir()
	for name, b := range a.files {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	// Without a lock: by the signed index.
	mustBake(t, request(t, packagesRecipe, fstest.MapFS{"keys.gpg": {Data: a.keys}}, "file://"+dir+"/debian"))
}

func TestPackageThatLeavesItsRoot(t *testing.T) {
	pkg := deb(t, map[string]string{"./bin/../../etc/passwd": "x"})
	a := newArchive(t, pkg, "1.0")
	srv := httptest.NewServer(a)
	defer srv.Close()
	_, err := bake.Bake(t.Context(), request(t, packagesRecipe, fstest.MapFS{"keys.gpg": {Data: a.keys}}, srv.URL+"/debian"))
	if err == nil || !strings.Contains(err.Error(), "leaves its root") {
		t.Errorf("error is %v", err)
	}
}

func TestRefusals(t *testing.T) {
	head := "apiVersion: bundt/v1\nname: t\nversion: \"1\"\narchitectures: [x86_64]\nblockDevices: [{device: /dev/sda1, size: 64MiB}]\nboot: {firmware: bios}\n"
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"parent image": {strings.SplitAfter(head, "]\n")[0] + "source: {image: ami-1}\n", bake.ErrUnsupported},
		"oci":          {head + "source: {oci: x}\n", bake.ErrUnsupported},
		"not built":    {head + "source: {tree: root}\nfiles: [{path: /init, from: \"build/{arch}/init\"}]\n", bake.ErrNotBuilt},
	} {
		t.Run(name, func(t *testing.T) {
			req := request(t, c.text, fstest.MapFS{"root/x": {Data: []byte("x")}}, "")
			if _, err := bake.Bake(t.Context(), req); !errors.Is(err, c.want) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req := request(t, packagesRecipe, fstest.MapFS{"keys.gpg": {}}, "http://127.0.0.1:1/debian")
	if _, err := bake.Bake(ctx, req); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
