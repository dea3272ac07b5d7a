package artifact_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bundt/bundt/pkg/catalog/artifact"
	"github.com/bundt/bundt/pkg/model"
)

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

func image() *artifact.Image {
	img := &model.Image{
		Name: "web", Description: "A web server", Arch: model.X8664, Created: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), RootDevice: "/dev/sda1",
		Boot:      model.Boot{Firmware: model.FirmwareBIOS, KernelDigest: digest("a"), InitrdDigest: digest("b"), Cmdline: "quiet"},
		LoginUser: "admin", ENA: true, Consistency: model.ConsistencyFilesystem,
		Recipe: &model.RecipeRef{Name: "web", Version: "1.0", Digest: digest("c"), BuildID: "build-0123456789abcdef0"},
		BlockDevices: []model.BlockDevice{
			{Device: "/dev/sda1", SizeGiB: 8, DeleteOnTermination: true, VolumeType: "gp3", SnapshotID: "snap-1"},
			{Device: "/dev/sdb", SizeGiB: 20},
			{Device: "/dev/sdc", SizeGiB: 8, SnapshotID: "snap-2"},
		},
	}
	return &artifact.Image{
		Config: artifact.NewConfig(img, map[string][]string{"/dev/sda1": {digest("1"), digest("2")}, "/dev/sdc": {digest("1"), digest("3")}}),
		Blobs: []artifact.Blob{
			blob(artifact.LayerType, "1"), blob(artifact.LayerType, "2"), blob(artifact.LayerType, "3"), blob(artifact.BootType, "a"), blob(artifact.BootType, "b"),
		},
	}
}

func blob(mediaType, c string) artifact.Blob {
	return artifact.Blob{MediaType: mediaType, Content: digest(c), Size: 1 << 20, Digest: digest("f"), BlobBytes: 1000}
}

func encode(t testing.TB, i *artifact.Image) (manifest, config []byte) {
	t.Helper()
	manifest, config, err := artifact.Encode(i)
	if err != nil {
		t.Fatal(err)
	}
	return manifest, config
}

func TestEncodeDecode(t *testing.T) {
	want := image()
	manifest, config := encode(t, want)
	again, sameConfig := encode(t, image())
	if !bytes.Equal(manifest, again) || !bytes.Equal(config, sameConfig) {
		t.Error("the same image has other bytes")
	}
	got, err := artifact.Decode(manifest, config)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Config.Recipe.BuildID != "" {
		t.Error("the build's id travels")
	}
	back := got.Config.Image()
	if back.Name != "web" || back.BlockDevices[0].SnapshotID != "" || back.State != model.ImageAvailable || len(back.BlockDevices) != 3 {
		t.Errorf("%+v", back)
	}
}

// TestHostileConfigs changes a good config, and has the manifest name the changed one.
func TestHostileConfigs(t *testing.T) {
	manifest, config := encode(t, image())
	for name, change := range map[string]func(c map[string]any){
		"a newer version":        func(c map[string]any) { c["schema"] = 2 },
		"something unknown":      func(c map[string]any) { c["encrypted"] = true },
		"no architecture":        func(c map[string]any) { c["architecture"] = "pdp11" },
		"a path as a device":     func(c map[string]any) { disk(c, 1)["device"] = "/dev/../etc" },
		"a device twice":         func(c map[string]any) { disk(c, 1)["device"] = "/dev/sda1" },
		"no disks":               func(c map[string]any) { c["disks"] = []any{} },
		"a huge disk":            func(c map[string]any) { disk(c, 1)["sizeGiB"] = 1 << 40 },
		"a negative disk":        func(c map[string]any) { disk(c, 1)["sizeGiB"] = -1 },
		"a blank root":           func(c map[string]any) { disk(c, 0)["layers"] = nil },
		"a layer that is none":   func(c map[string]any) { disk(c, 0)["layers"] = []string{digest("9")} },
		"a kernel as a layer":    func(c map[string]any) { disk(c, 0)["layers"] = []string{digest("1"), digest("2"), digest("a")} },
		"a layer nobody names":   func(c map[string]any) { disk(c, 2)["layers"] = []string{digest("1")} },
		"no root":                func(c map[string]any) { c["rootDevice"] = "/dev/sdz" },
		"a user of a shell":      func(c map[string]any) { c["loginUser"] = "root; reboot" },
		"an unknown firmware":    func(c map[string]any) { c["boot"].(map[string]any)["firmware"] = "openfirmware" },
		"arm64 by BIOS":          func(c map[string]any) { c["architecture"] = "arm64" },
		"an initrd alone":        func(c map[string]any) { c["boot"].(map[string]any)["kernel"] = "" },
		"a recipe without":       func(c map[string]any) { c["recipe"].(map[string]any)["digest"] = "" },
		"a recipe's build":       func(c map[string]any) { c["recipe"].(map[string]any)["buildID"] = "build-1" },
		"a long description":     func(c map[string]any) { c["description"] = strings.Repeat("x", 300) },
		"an unknown consistency": func(c map[string]any) { c["consistency"] = "perfect" },
		"negative IOPS":          func(c map[string]any) { disk(c, 0)["iops"] = -5 },
	} {
		var c map[string]any
		if err := json.Unmarshal(config, &c); err != nil {
			t.Fatal(err)
		}
		change(c)
		changed, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := artifact.Decode(naming(t, manifest, changed), changed); !errors.Is(err, artifact.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := artifact.Decode(manifest, append(config, ' ')); !errors.Is(err, artifact.ErrInvalid) {
		t.Errorf("another config than the manifest's: %v", err)
	}
}

func disk(c map[string]any, n int) map[string]any { return c["disks"].([]any)[n].(map[string]any) }

// naming is a manifest with another config.
func naming(t testing.TB, manifest, config []byte) []byte {
	t.Helper()
	return changed(t, manifest, func(m map[string]any) {
		d := m["config"].(map[string]any)
		d["digest"], d["size"] = artifact.Digest(config), len(config)
	})
}

func changed(t testing.TB, manifest []byte, change func(map[string]any)) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHostileManifests(t *testing.T) {
	manifest, config := encode(t, image())
	layer := func(m map[string]any, n int) map[string]any { return m["layers"].([]any)[n].(map[string]any) }
	notes := func(m map[string]any, n int) map[string]any { return layer(m, n)["annotations"].(map[string]any) }
	for name, change := range map[string]func(m map[string]any){
		"a container image":     func(m map[string]any) { m["artifactType"] = "application/vnd.oci.image.config.v1+json" },
		"an index":              func(m map[string]any) { m["mediaType"] = "application/vnd.oci.image.index.v1+json" },
		"a huge config":         func(m map[string]any) { m["config"].(map[string]any)["size"] = 1 << 40 },
		"a config by MD5":       func(m map[string]any) { m["config"].(map[string]any)["digest"] = "md5:00" },
		"a layer by SHA-512":    func(m map[string]any) { layer(m, 0)["digest"] = "sha512:" + strings.Repeat("0", 128) },
		"a layer of a tar":      func(m map[string]any) { layer(m, 0)["mediaType"] = "application/vnd.oci.image.layer.v1.tar" },
		"a layer without bytes": func(m map[string]any) { layer(m, 0)["size"] = 0 },
		"no size":               func(m map[string]any) { notes(m, 0)["dev.bundt.size"] = "" },
		"a negative size":       func(m map[string]any) { notes(m, 0)["dev.bundt.size"] = "-1" },
		"a path as a content":   func(m map[string]any) { notes(m, 0)["dev.bundt.content"] = "../../x" },
		"a layer twice":         func(m map[string]any) { m["layers"] = append(m["layers"].([]any), layer(m, 0)) },
		"too few layers":        func(m map[string]any) { m["layers"] = m["layers"].([]any)[:2] },
		"as it is, but another": func(m map[string]any) { layer(m, 0)["mediaType"] = artifact.PlainLayerType },
		"ten thousand layers":   func(m map[string]any) { m["layers"] = make([]any, 10000) },
	} {
		if _, err := artifact.Decode(changed(t, manifest, change), config); !errors.Is(err, artifact.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	manifest, config := encode(f, image())
	f.Add(manifest, config)
	f.Add([]byte(`{}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		if !json.Valid(manifest) || !bytes.HasPrefix(manifest, []byte(`{`)) || !bytes.Contains(manifest, []byte(`"config":{`)) {
			return
		}
		i, err := artifact.Decode(manifest, config)
		if err == nil {
			if _, _, err := artifact.Encode(i); err != nil {
				t.Errorf("what was decoded cannot be encoded: %v", err)
			}
		} else if !errors.Is(err, artifact.ErrInvalid) {
			t.Error(err)
		}
	})
}

func room() error { return nil }

func TestPackUnpack(t *testing.T) {
	content := make([]byte, 3<<20+17)
	for i := 1 << 20; i < 1<<20+100_000; i++ {
		content[i] = byte(i * 7)
	}
	var packed, again bytes.Buffer
	b, err := artifact.Pack(t.Context(), artifact.LayerType, &packed, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if same, err := artifact.Pack(t.Context(), artifact.LayerType, &again, bytes.NewReader(content)); err != nil || same != b || !bytes.Equal(packed.Bytes(), again.Bytes()) {
		t.Errorf("the same content gives %+v and %+v, %v", b, same, err)
	}
	unpack := func(b artifact.Blob, data []byte, room func() error) ([]byte, error) {
		f, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := b.Unpack(t.Context(), f, bytes.NewReader(data), room); err != nil {
			return nil, err
		}
		return os.ReadFile(f.Name())
	}
	if got, err := unpack(b, packed.Bytes(), room); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	small := b
	small.Size = 1000
	if _, err := unpack(small, packed.Bytes(), room); !errors.Is(err, artifact.ErrInvalid) {
		t.Errorf("more than it says: %v", err)
	}
	if _, err := unpack(b, packed.Bytes()[:len(packed.Bytes())-20], room); err == nil {
		t.Error("half a blob is accepted")
	}
	full := errors.New("no room")
	if _, err := unpack(b, packed.Bytes(), func() error { return full }); !errors.Is(err, full) {
		t.Errorf("without room: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := artifact.Pack(ended, artifact.LayerType, &packed, bytes.NewReader(content)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What is not packed is its content, and is taken so.
func TestPlain(t *testing.T) {
	img := image()
	for i := range img.Blobs {
		b := &img.Blobs[i]
		b.Digest, b.BlobBytes = b.Content, b.Size
		b.MediaType = map[string]string{artifact.LayerType: artifact.PlainLayerType, artifact.BootType: artifact.PlainBootType}[b.MediaType]
	}
	manifest, config := encode(t, img)
	got, err := artifact.Decode(manifest, config)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(img, got); diff != "" {
		t.Error(diff)
	}
	content := []byte("bread")
	b := artifact.Blob{MediaType: artifact.PlainBootType, Content: artifact.Digest(content), Size: 5, Digest: artifact.Digest(content), BlobBytes: 5}
	for text, ok := range map[string]bool{"bread": true, "cakes": false, "brea": false, "breads": false} {
		f, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Unpack(t.Context(), f, strings.NewReader(text), room); (err == nil) != ok || !ok && !errors.Is(err, artifact.ErrInvalid) {
			t.Errorf("%s: %v", text, err)
		}
		f.Close()
	}
}

func TestParseReference(t *testing.T) {
	for in, want := range map[string]artifact.Reference{
		"oci://localhost:5000/web":                   {Registry: "localhost:5000", Repository: "web", Tag: "latest"},
		"registry.example.com/a/b/web:2":             {Registry: "registry.example.com", Repository: "a/b/web", Tag: "2"},
		"r.example.com/web@" + digest("a"):           {Registry: "r.example.com", Repository: "web", Digest: digest("a")},
		"oci://r.example.com/web:1.2@" + digest("a"): {Registry: "r.example.com", Repository: "web", Tag: "1.2", Digest: digest("a")},
	} {
		got, err := artifact.ParseReference(in)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
		if again, err := artifact.ParseReference(got.String()); err != nil || again != got {
			t.Errorf("%s: as text it is %s: %+v, %v", in, got, again, err)
		}
	}
	for _, in := range []string{
		"", "web", "oci://", "http://r.example.com/web", "r.example.com/WEB", "r.example.com/web:", "r.example.com/web:a b", "r.example.com/../web",
		"r.example.com/web@sha256:1", "r.example.com/web@sha512:" + strings.Repeat("0", 128), "user@r.example.com/web", "r.example.com/web?x=1",
	} {
		if got, err := artifact.ParseReference(in); err == nil {
			t.Errorf("%q is %+v", in, got)
		}
	}
}
