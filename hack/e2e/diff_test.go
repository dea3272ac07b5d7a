//go:build vm

package e2e

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api/bundttypes"
)

// TestDiff changes a running cake and reads what is different from its recipe, out of
// the layers: what the guest has written is partly in the file system's journal only.
func TestDiff(t *testing.T) {
	d := newDaemon(t)
	image := d.build(t, "tiny", "x86_64")
	key := filepath.Join(d.Dir, "key")
	d.cli(t, "key", "create", "diff", "--file", key)
	id := strings.TrimSpace(d.cli(t, "run", image, "--type", "b1.nano", "--key", "diff", "--name", "web", "-o", "name"))
	in := func(script string) {
		t.Helper()
		d.cli(t, "ssh", "-i", key, id, "--", script)
	}
	in("echo '<h1>cake</h1>' > /var/www/index.html; chmod 600 /etc/passwd; echo baker:x:1000:1000::/home/baker:/bin/sh >> /etc/passwd")
	in("printf '#!/bin/sh\\nexec httpd -f -p 80 -h /var/www\\n' > /etc/rc.d/web; chmod +x /etc/rc.d/web; ln -s web /etc/rc.d/alias; rm /etc/group; sync")

	out := d.cli(t, "diff", "web", "--content")
	t.Log(out)
	for _, want := range []string{
		"+ /etc/rc.d/alias", "→ web", "- /etc/group", "~ /etc/passwd", "mode -rw-r--r-- → -rw-------", "    +baker:x:1000:1000::/home/baker:/bin/sh",
		"    +<h1>cake</h1>", "+ baker  uid 1000, gid 1000, home /home/baker, shell /bin/sh", "+ web  by /etc/rc.d", "1 shared",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if strings.Contains(out, "PRIVATE KEY") {
		t.Error("a private key is shown")
	}
	var got bundttypes.DiffImagesOutput
	must(t, json.Unmarshal([]byte(d.cli(t, "diff", "web", "--path", "/etc/rc.d", "-o", "json")), &got))
	if len(got.Files) != 2 || got.Files[0].Path != "/etc/rc.d/alias" || got.Files[1].Path != "/etc/rc.d/web" || got.Files[1].Kind != bundttypes.DiffAdded {
		t.Errorf("below /etc/rc.d: %+v", got.Files)
	}
	snaps, err := d.Bundt(t.Context(), "snapshot", "ls", "-o", "name")
	must(t, err)
	if n := len(strings.Fields(snaps)); n != 1 {
		t.Errorf("%d snapshots are left, want the image's: %s", n, snaps)
	}

	// The recipe written down from it is the same, but for what boots write.
	twin := strings.TrimSpace(d.cli(t, "create-image", id, "--name", "web-2", "--no-reboot"))
	must(t, json.Unmarshal([]byte(d.cli(t, "diff", image, twin, "-o", "json")), &got))
	if !slices.ContainsFunc(got.Files, func(f bundttypes.FileDiff) bool { return f.Path == "/var/www/index.html" }) {
		t.Errorf("between the images: %+v", got.Files)
	}
	for _, f := range strings.Fields(d.cli(t, "diff", "web", "web-2", "-o", "name")) {
		t.Errorf("%s differs between the instance and the image just made of it", f)
	}
	var history []bundttypes.HistoryLayer
	must(t, json.Unmarshal([]byte(d.cli(t, "history", twin, "-o", "json")), &history))
	if len(history) < 2 || history[0].By != "the instance "+id || history[len(history)-1].By != "the recipe tiny 1.0.0" || history[0].AllocatedBytes == 0 || !slices.Contains(history[len(history)-1].ImageIds, image) {
		t.Errorf("the history is %+v", history)
	}
	d.cli(t, "rm", id)
}
