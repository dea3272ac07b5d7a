package main

import (
	"context"
	"fmt"
	"strings"
)

// identity is what two machines of one image must not share.
type identity struct{ hostname, hostKey, machineID, mac string }

const identityScript = `hostname; cat /etc/machine-id; cat /sys/class/net/e*/address`

func (d *demo) identityOf(ctx context.Context, instance string) (identity, error) {
	out, err := d.cloud.ssh(ctx, instance, identityScript)
	if err != nil {
		return identity{}, err
	}
	lines := strings.Split(out, "\n")
	if len(lines) != 3 {
		return identity{}, fmt.Errorf("asking %s who it is: got %q", instance, out)
	}
	key, err := d.cloud.hostKey(ctx, instance)
	return identity{hostname: lines[0], machineID: lines[1], mac: lines[2], hostKey: key}, err
}

// compare shows both identities and fails if anything in them is equal or empty.
func (d *demo) compare(ctx context.Context) (err error) {
	if d.before, err = d.identityOf(ctx, d.first); err != nil {
		return err
	}
	if d.after, err = d.identityOf(ctx, d.twin); err != nil {
		return err
	}
	for _, r := range []struct{ what, a, b string }{
		{"hostname", d.before.hostname, d.after.hostname},
		{"machine-id", d.before.machineID, d.after.machineID},
		{"MAC address", d.before.mac, d.after.mac},
		{"SSH host key", d.before.hostKey, d.after.hostKey},
	} {
		fmt.Printf("  %-13s %-52s %s\n", r.what, r.a, r.b)
		if r.a == "" || r.b == "" || r.a == r.b {
			return fmt.Errorf("the %s must differ", r.what)
		}
	}
	return nil
}
