package builder

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// keyMark is the part of the line that tiny puts before its instance's key: left alone
// it would take the next one away.
const keyMark = "# the next key is the instance"

// cleanScript takes out of the build instance what makes it itself: what a new
// machine makes anew. The keys that the build, and those whose cached steps are in it,
// logged in with go by their text, so that keys which a component put there on purpose stay. What EC2 Image Builder
// removes is listed at
// https://docs.aws.amazon.com/imagebuilder/latest/userguide/security-best-practices.html
const cleanScript = `
set -- -e "$MARK"
for k in $KEYS; do set -- "$@" -e "$k"; done
for f in /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys; do
	[ -f "$f" ] || continue
	grep -vF "$@" "$f" >"$f.kept" || true
	cat "$f.kept" >"$f"
	rm "$f.kept"
	[ -s "$f" ] || rm "$f"
done
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
if [ -e /etc/machine-id ]; then : >/etc/machine-id; fi
if [ ! -L /var/lib/dbus/machine-id ]; then rm -f /var/lib/dbus/machine-id; fi
rm -f /etc/sudoers.d/90-cloud-init-users
rm -rf /var/lib/cloud/* /var/lib/bundt
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /var/lib/dhcp/*.leases
rm -f /root/.bash_history /home/*/.bash_history /root/.ash_history
find /var/log -type f -exec sh -c ': >"$1"' x {} \;
sync
`

// clean removes the build instance's identity.
func (j *job) clean(ctx context.Context, g *guest, c *course) error {
	return j.steps.doLogged(ctx, phaseImage, "clean identity", func(log io.Writer) error {
		if g.session == nil {
			if err := j.connect(ctx, g); err != nil {
				return err
			}
		}
		code, err := g.session.Run(ctx, "KEYS='"+strings.Join(append(c.keys, g.key.text()), " ")+"' MARK='"+keyMark+"'\n"+cleanScript, false, log, log)
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d", code)
		}
		return err
	})
}
