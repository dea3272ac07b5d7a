package daemon

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/layer"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/node"
)

// defaultPool is the name that the data directory goes by among pools.
const defaultPool = "default"

var poolName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// pools are the configured pools, for the node and for the layer store.
func (c *Config) pools() (pools []node.Pool, options []layer.Option, err error) {
	seen, dirs := map[string]bool{}, map[string]bool{c.DataDir: true}
	for _, text := range c.Pools {
		p, dir, err := parsePool(text)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", text, err)
		}
		for _, name := range append([]string{"the pool " + p.Name}, p.Types...) {
			if seen[name] {
				return nil, nil, fmt.Errorf("%s: %s is given twice", text, name)
			}
			seen[name] = true
		}
		if p.Name != "" {
			if dirs[dir] {
				return nil, nil, fmt.Errorf("%s: another pool has the directory", text)
			}
			dirs[dir] = true
			options = append(options, layer.WithPool(p.Name, dir))
		}
		pools = append(pools, p)
	}
	return pools, options, nil
}

// parsePool reads NAME=DIR:types=TYPE+TYPE:reserve=MIB:quota=MIB.
func parsePool(text string) (p node.Pool, dir string, err error) {
	name, rest, ok := strings.Cut(text, "=")
	if !ok || !poolName.MatchString(name) {
		return p, "", fmt.Errorf("expect NAME=DIR:types=TYPE+TYPE[:reserve=MIB][:quota=MIB], with a name of lower-case letters and digits")
	}
	parts := strings.Split(rest, ":")
	dir = parts[0]
	for _, scheme := range []string{"rbd", "lvm", "iscsi", "nbd"} {
		if dir == scheme {
			return p, "", fmt.Errorf("pools are directories; RBD, LVM and other block storage are not supported, unless it is mounted as a directory")
		}
	}
	switch {
	case name == defaultPool && dir != "":
		return p, "", fmt.Errorf("the default pool is in the data directory, and has no other: write default=:quota=…")
	case name != defaultPool && !filepath.IsAbs(dir):
		return p, "", fmt.Errorf("the directory has to be an absolute path")
	case strings.HasPrefix(dir, "/dev/"):
		return p, "", fmt.Errorf("pools are directories; block devices are not supported: make a file system on it and mount it")
	}
	if name != defaultPool {
		p.Name, dir = name, filepath.Clean(dir)
	}
	for _, part := range parts[1:] {
		if err := setPool(&p, part); err != nil {
			return p, "", err
		}
	}
	if (p.Name == "") != (len(p.Types) == 0) {
		return p, "", fmt.Errorf("types= says which volumes are in a pool; all others are in the default one")
	}
	return p, dir, nil
}

func setPool(p *node.Pool, part string) error {
	key, value, _ := strings.Cut(part, "=")
	switch key {
	case "types":
		p.Types = strings.Split(value, "+")
		for _, t := range p.Types {
			if !slices.Contains(model.VolumeTypes(), t) {
				return fmt.Errorf("%q is no type of volumes: there are %s", t, strings.Join(model.VolumeTypes(), ", "))
			}
		}
	case "reserve", "quota":
		mib, err := strconv.ParseInt(value, 10, 42)
		if err != nil || mib < 1 {
			return fmt.Errorf("%s=%s: expect a number of MiB", key, value)
		}
		if key == "reserve" {
			p.Reserve = mib << 20
		} else {
			p.Quota = mib << 20
		}
	default:
		return fmt.Errorf("%q is not types=, reserve= or quota=", part)
	}
	return nil
}
