//go:build vm

package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bundt/bundt/hack/harness"
)

// registryServer runs the distribution's registry on loopback and returns its address.
func registryServer(t *testing.T) string {
	t.Helper()
	needClient(t, "docker-registry")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	must(t, l.Close())
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, "version: 0.1\nlog: {level: warn}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n", dir, addr), 0o600))
	cmd := exec.Command(program("docker-registry"), "serve", config)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	must(t, cmd.Start())
	t.Cleanup(func() {
		_, _ = cmd.Process.Kill(), cmd.Wait()
		if t.Failed() {
			t.Logf("the registry's log:\n%s", log.String())
		}
	})
	eventually(t, "the registry answers", func() error {
		r, err := http.Get("http://" + addr + "/v2/")
		if err == nil {
			err = r.Body.Close()
		}
		return err
	})
	return addr
}

// TestRegistry: the image of a machine that runs in one cloud goes through a registry
// to another cloud, which trusts who signed it, and a machine of it has there what
// the first one had.
func TestRegistry(t *testing.T) {
	addr := registryServer(t)
	onHost := func(o *harness.Options) { o.Args = append(o.Args, "--import-from-host") }
	bakery := newDaemon(t, onHost)
	base := bakery.build(t, "tiny", "x86_64")
	key := filepath.Join(bakery.Dir, "key")
	bakery.cli(t, "key", "create", "k", "--file", key)
	id := strings.TrimSpace(bakery.cli(t, "run", base, "--key", "k", "-o", "name"))
	bakery.cli(t, "ssh", "-i", key, id, "--", "echo decorated > /root/cake && sync")
	cake := strings.TrimSpace(bakery.cli(t, "create-image", id, "--name", "cake", "--no-reboot"))
	bakery.cli(t, "image", "push", base, addr+"/images/tiny:1")
	digest := strings.TrimSpace(bakery.cli(t, "image", "push", cake, addr+"/images/tiny:cake", "--sign"))
	if !regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString(digest) {
		t.Fatalf("push prints %q", digest)
	}
	public := filepath.Join(bakery.Dir, "bakery.pub")
	must(t, os.WriteFile(public, []byte(bakery.cli(t, "signing-key", "show")), 0o600))

	shop := newDaemon(t, onHost)
	if out, err := shop.Bundt(t.Context(), "image", "pull", addr+"/images/tiny:cake", "--require-signature"); err == nil {
		t.Fatalf("pulled what nobody who is trusted has signed: %s", out)
	}
	if out := shop.cli(t, "image", "verify", addr+"/images/tiny:cake", "--key", public); !strings.HasPrefix(out, digest+" ") {
		t.Errorf("verify prints %s", out)
	}
	shop.cli(t, "trust", "add", "bakery", public)
	out := shop.cli(t, "image", "verify", addr+"/images/tiny:cake", "--attested")
	for _, want := range []string{digest + " bakery\n", "\nprovenance: made of the instance " + id + " on the image tiny-1.0.0-x86_64 " + base + ", of the recipe tiny 1.0.0 (sha256:", "\nsbom: image x86_64, "} {
		if !strings.Contains(out, want) {
			t.Errorf("verify does not say %q: %s", want, out)
		}
	}
	if out, err := shop.Bundt(t.Context(), "image", "verify", addr+"/images/tiny:1"); err == nil {
		t.Errorf("verified what was not signed: %s", out)
	}
	if out, err := shop.Bundt(t.Context(), "image", "pull", addr+"/images/tiny:1", "--require-signature"); err == nil {
		t.Fatalf("pulled what was not signed: %s", out)
	}
	plain := strings.TrimSpace(shop.cli(t, "image", "pull", addr+"/images/tiny:1", "--name", "plain"))
	got := strings.TrimSpace(shop.cli(t, "image", "pull", addr+"/images/tiny@"+digest, "--require-signature"))
	tasks := shop.cli(t, "image", "tasks", "-o", "json", "--query", "[?ImageId=='"+got+"'].[SignedBy,ReusedBytes>`0`]|[0]")
	if strings.Join(strings.Fields(tasks), "") != `["bakery",true]` {
		t.Errorf("the pull's signer and whether it reused the lower layers: %s", tasks)
	}
	// What is in it is read from its own files in both clouds, and is the same.
	bill := bakery.cli(t, "image", "sbom", cake)
	if there := shop.cli(t, "image", "sbom", got); there != bill {
		t.Errorf("the bill of materials differs:\n%s\n%s", bill, there)
	}
	for _, want := range []string{"pkg:golang/golang.org/x/crypto@v", "pkg:deb/debian/busybox-static@", "pkg:deb/debian/linux-image-6.", "Compiled into /sbin/init"} {
		if !strings.Contains(bill, want) {
			t.Errorf("the bill of materials has no %s", want)
		}
	}
	if out := shop.cli(t, "image", "provenance", got, "--format", "text"); !strings.HasSuffix(out, "; signed by bakery") || !strings.HasPrefix(out, "made of the instance "+id) {
		t.Errorf("how it was made: %s", out)
	}
	shop.cli(t, "key", "create", "k", "--file", filepath.Join(shop.Dir, "key"))
	for image, want := range map[string]string{got: "decorated", plain: "none"} {
		id := strings.TrimSpace(shop.cli(t, "run", image, "--key", "k", "-o", "name"))
		if out := shop.cli(t, "ssh", "-i", filepath.Join(shop.Dir, "key"), id, "--", "cat /root/cake 2>/dev/null || echo none"); strings.TrimSpace(out) != want {
			t.Errorf("%s has %q, not %q", image, out, want)
		}
	}
}

// TestMarket: a publisher's product goes by a signed index in a registry to another
// cloud, where only an account that has accepted its terms launches it; the guest
// finds the product's code. A community's image needs no terms.
func TestMarket(t *testing.T) {
	addr := registryServer(t)
	onHost := func(o *harness.Options) { o.Args = append(o.Args, "--import-from-host") }
	d := newDaemon(t, onHost) // its own publisher: the product still comes from the registry
	base := d.build(t, "tiny", "x86_64")
	d.cli(t, "image", "push", base, addr+"/images/tiny:1")
	write := func(name, text string) string {
		path := filepath.Join(d.Dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	version := "    versions: [{version: \"1.0\", image: " + addr + "/images/tiny:1, released: 2026-11-01}]\n"
	goods := write("goods.yaml", "publisher: The Bakery\nproducts:\n  - id: cake\n    title: A cake\n    price: 3 EUR\n    terms: Eat it while it is warm.\n"+version)
	gifts := write("gifts.yaml", "publisher: The Neighbours\nkind: community\nproducts:\n  - id: bread\n    title: Bread\n"+version)
	public := write("bakery.pub", d.cli(t, "signing-key", "show"))
	d.cli(t, "market", "publish", goods, "oci://"+addr+"/index:latest")
	d.cli(t, "market", "add-publisher", "bakery", "oci://"+addr+"/index:latest", public, "--plain-http")
	if out := d.cli(t, "market", "ls"); !strings.Contains(out, "bakery/cake") || !strings.Contains(out, "3 EUR") {
		t.Errorf("market ls prints %s", out)
	}
	terms, err := d.Bundt(t.Context(), "market", "subscribe", "cake")
	if err == nil || !strings.Contains(terms+err.Error(), "Eat it while it is warm.") {
		t.Errorf("subscribed without consent: %s, %v", terms, err)
	}
	if _, err := d.Bundt(t.Context(), "market", "pull", "cake"); err == nil || !strings.Contains(err.Error(), "accept terms and subscribe") {
		t.Errorf("pulled without a subscription: %v", err)
	}
	code := strings.TrimSpace(d.cli(t, "market", "subscribe", "cake", "--accept-terms", "any"))
	image := strings.TrimSpace(d.cli(t, "market", "pull", "cake"))
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "k", "--file", key)
	id := strings.TrimSpace(d.cli(t, "run", image, "--key", "k", "-o", "name"))
	if out := d.cli(t, "ssh", "-i", key, id, "--", "wget -q -O - http://169.254.169.254/latest/meta-data/product-codes"); strings.TrimSpace(out) != code {
		t.Errorf("the guest finds the product code %q, not %q", out, code)
	}
	d.cli(t, "account", "create", "student")
	if _, err := d.Bundt(t.Context(), "--account", "student", "run", image); err == nil || !strings.Contains(err.Error(), "accept terms and subscribe") {
		t.Errorf("another account's launch: %v", err)
	}

	other := newDaemon(t, onHost)
	other.cli(t, "market", "publish", gifts, "oci://"+addr+"/gifts:latest")
	neighbours := write("neighbours.pub", other.cli(t, "signing-key", "show"))
	d.cli(t, "market", "add-publisher", "neighbours", "oci://"+addr+"/gifts:latest", neighbours, "--plain-http")
	d.cli(t, "image", "share", base, "--public")
	if out := d.cli(t, "--account", "student", "community", "ls"); !strings.Contains(out, "neighbours/bread") || !strings.Contains(out, base) {
		t.Errorf("community ls prints %s", out)
	}
	bread := strings.TrimSpace(d.cli(t, "--account", "student", "market", "pull", "bread"))
	d.cli(t, "--account", "student", "key", "create", "s", "--file", filepath.Join(d.Dir, "student"))
	gift := strings.TrimSpace(d.cli(t, "--account", "student", "run", bread, "--key", "s", "-o", "name"))
	d.cli(t, "--account", "student", "ssh", "-i", filepath.Join(d.Dir, "student"), gift, "--", "true")
	d.cli(t, "market", "remove-publisher", "bakery")
	if out := d.cli(t, "market", "ls", "-o", "name"); strings.TrimSpace(out) != "" {
		t.Errorf("after the publisher was removed: %s", out)
	}
}
