package recipe_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"go.yaml.in/yaml/v3"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
)

const byURL = `apiVersion: bundt/v1
name: distro
version: "1"
architectures: [x86_64, arm64]
boot: {firmware: bios, overrides: {arm64: {firmware: uefi}}}
source:
  url:
    url: https://images.example.org/current/distro-{arch}.img
    arch: {x86_64: amd64}
    checksums:
      url: https://images.example.org/current/SHA256SUMS
      signature: https://images.example.org/current/SHA256SUMS.gpg
      key: keys.asc
      fingerprints: [0123456789ABCDEF0123456789ABCDEF01234567]
blockDevices: [{device: /dev/sda1, size: 4GiB}]
`

// TestURL changes a recipe of a distributor's image in ways that the parser must see,
// and the schema too but where several values are concerned.
func TestURL(t *testing.T) {
	schema := compileSchema(t)
	sums := byURL[strings.Index(byURL, "    checksums:"):strings.Index(byURL, "blockDevices")]
	keys := sums[strings.Index(sums, "      signature"):]
	sum := "sha256:" + strings.Repeat("0a", 32)
	for name, test := range map[string]struct {
		old, new, want string
		inSchema       bool
	}{
		"good":                       {"", "", "", true},
		"signed in itself":           {"      signature: https://images.example.org/current/SHA256SUMS.gpg\n", "", "", true},
		"checksums only":             {keys, "", "", true},
		"digests":                    {sums, "    digests: {x86_64: \"" + sum + "\", arm64: \"sha512:" + strings.Repeat("0a", 64) + "\"}\n", "", true},
		"digest for two":             {sums, "    digest: " + sum + "\n", "cannot be that of 2 architectures", false},
		"digest of one":              {"[x86_64, arm64]\nboot: {firmware: bios, overrides: {arm64: {firmware: uefi}}}", "[x86_64]\nboot: {firmware: bios}", "", true},
		"a digest is missing":        {sums, "    digests: {x86_64: \"" + sum + "\"}\n", "digests lacks that of arm64", false},
		"a digest too many":          {sums, "    digests: {x86_64: \"" + sum + "\", arm64: \"" + sum + "\", i386: \"" + sum + "\"}\n", `"i386" is not one of the recipe's`, false},
		"a digest is none":           {sums, "    digests: {x86_64: \"" + sum + "\", arm64: \"md5:00\"}\n", `"md5:00" is not a digest`, true},
		"nothing to verify by":       {sums, "", "exactly one of digest, digests and checksums", true},
		"two things to verify by":    {"    checksums:", "    digest: " + sum + "\n    checksums:", "exactly one of digest, digests and checksums", true},
		"checksums without https":    {"      url: https://images.example.org/current/SHA256SUMS\n" + keys, "      url: http://images.example.org/current/SHA256SUMS\n", "that nobody signed must come by https", false},
		"a signature without a key":  {"      key: keys.asc\n", "", "needs a key", true},
		"a key without fingerprints": {"      fingerprints: [0123456789ABCDEF0123456789ABCDEF01234567]\n", "", "needs fingerprints", true},
		"a fingerprint's end":        {"[0123456789ABCDEF0123456789ABCDEF01234567]", "[EF01234567]", "is not a fingerprint of 40", true},
		"a key outside":              {"keys.asc", "../keys.asc", "not a path inside the recipe's directory", false},
		"one URL for two":            {"distro-{arch}.img", "distro.img", "is the same for x86_64 and arm64", false},
		"a URL of a file":            {"https://images.example.org/current/distro-{arch}.img", "file:///etc/passwd-{arch}", "not an http or https URL", true},
		"a URL upwards":              {"current/distro-{arch}.img", "../../distro-{arch}.img", "is not the URL of a file", false},
		"a URL upwards, in disguise": {"arch: {x86_64: amd64}", "arch: {x86_64: /../amd64}", "is not the URL of a file", false},
		"a URL of a directory":       {"distro-{arch}.img", "distro-{arch}/", "is not the URL of a file", false},
		"a password in a URL":        {"https://images.example.org/current/distro", "https://me:secret@images.example.org/current/distro", "not an http or https URL", true},
		"a name for another":         {"{x86_64: amd64}", "{i386: amd64}", `"i386" is not one of the recipe's architectures`, false},
		"files":                      {"blockDevices:", "files: [{path: /etc/a, content: b}]\nblockDevices:", "let steps of components change it", false},
		"a kernel of the image":      {"boot: {firmware: bios", "boot: {firmware: bios, kernel: /vmlinuz, initrd: /initrd.img", "", true},
		"another format":             {"    checksums:", "    format: vmdk\n    checksums:", `cannot be "vmdk"`, true},
	} {
		text := strings.Replace(byURL, test.old, test.new, 1)
		if name == "digest of one" {
			text = strings.Replace(text, sums, "    digest: "+sum+"\n", 1)
		}
		if name != "good" && text == byURL {
			t.Fatalf("%s: nothing is changed", name)
		}
		_, err := recipe.Parse("r.yaml", []byte(text))
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: error is %v, want %q", name, err, test.want)
		}
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		err = schema.Validate(v)
		if seen := err != nil; test.inSchema && seen != (test.want != "") || test.want == "" && seen {
			t.Errorf("%s: the schema says %v", name, err)
		}
	}
}

func TestURLNames(t *testing.T) {
	r, err := recipe.Parse("r.yaml", []byte(byURL))
	if err != nil {
		t.Fatal(err)
	}
	u := r.Source.URL
	if got := u.For(model.X8664, u.URL); got != "https://images.example.org/current/distro-amd64.img" {
		t.Error(got)
	}
	if got := u.FileName(model.ARM64); got != "distro-arm64.img" {
		t.Error(got)
	}
	for want, source := range map[recipe.Verification]recipe.Source{
		recipe.VerifiedSigned: r.Source, recipe.VerifiedBuilt: {Tree: "x"}, recipe.VerifiedParent: {Image: "recipe:x"}, recipe.VerifiedDigest: {URL: &recipe.URLSource{Digest: "x"}},
		recipe.VerifiedChecksum: {URL: &recipe.URLSource{Checksums: &recipe.Checksums{URL: "x"}}},
	} {
		if got := source.Verification(); got != want {
			t.Errorf("%+v is verified by %s, want %s", source, got, want)
		}
	}
	if _, err := recipe.Load(fstest.MapFS{"recipe.yaml": {Data: []byte(byURL)}}); err == nil || !strings.Contains(err.Error(), "there is no keys.asc in the recipe's directory") {
		t.Errorf("a missing file of keys: %v", err)
	}
}
