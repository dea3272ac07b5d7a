// Package daemon owns bundtd: its configuration, the wiring of every part, and
// its life as a process. It is the only place that picks drivers.
package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api/throttle"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/fetch"
	"github.com/bundt/bundt/pkg/keyring"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/rundir"
)

// Config is how a daemon runs.
type Config struct {
	DataDir   string // everything durable
	CacheDir  string // downloads and finished bake steps; may be shared
	RunDir    string // sockets; "" is chosen by DataDir
	Socket    string // of the API; "" is RunDir/bundtd.sock
	Listen    string // HOST:PORT of the endpoint for AWS's clients; "" for none
	ListenAny bool   // use any free port if that of Listen is taken
	TLSCert   string // files of the endpoint's certificate and its key
	TLSKey    string
	// InsecureListen allows an address that others can reach without TLS.
	InsecureListen bool
	Region         string
	NodeID         string // "" is the host's name
	EtcdEndpoints  []string
	Hypervisor     string // "qemu", "fake", or the URI of a libvirt
	Network        string // "user", "kernel", or "auto" for kernel where the host can
	Accel          string // "", "kvm" or "tcg": forced for every machine
	PackageMirror  string
	// ImageMirrors are where disk images come from instead, each as FROM=TO.
	ImageMirrors []string
	// RegionsFile names the other regions; "" is none. See region.Load.
	RegionsFile string
	// ImportFromHost lets imports by URL reach the host's own addresses, loopback
	// included.
	ImportFromHost bool
	// Pools are further directories for volumes of some types, see parsePool.
	Pools []string
	// VolumeKeyFile is the file of the key of encrypted volumes; "" is in DataDir.
	VolumeKeyFile string
	// VolumesUnlimited leaves volumes without the limits of their types.
	VolumesUnlimited bool
	PublicPool       string // CIDR of loopback addresses given to instances; "" gives none
	// HostAddresses are the host's own, which accounts get as elastic addresses when
	// they ask for one of them.
	HostAddresses []string
	ShutdownGrace time.Duration
	// GuestMemoryMiB is what all guests together may take; 0 is nine tenths of the host's.
	GuestMemoryMiB int64
	// ReadRate and ChangeRate are how many reading and changing calls each account
	// may make a second, and twice as many at once; 0 is any number.
	ReadRate, ChangeRate int
	// BuildCacheMiB is what each account's cache of builds may take; 0 keeps none.
	BuildCacheMiB int64
	// BuildCacheFresh is how long cached steps may be used that take things from outside.
	BuildCacheFresh time.Duration
}

// DefaultConfig is for this user: an XDG state directory, or the system's as root.
func DefaultConfig() Config {
	c := Config{
		Listen: DefaultListen, ListenAny: true, Region: "local-1", Hypervisor: hypervisorQEMU, Network: networkUser, PublicPool: "127.77.0.0/16", ShutdownGrace: time.Minute,
		BuildCacheMiB: 10 << 10, BuildCacheFresh: 6 * time.Hour,
		ReadRate: int(throttle.DefaultReads.PerSecond), ChangeRate: int(throttle.DefaultChanges.PerSecond),
		DataDir: defaultDataDir(), CacheDir: defaultCacheDir(), PackageMirror: os.Getenv("BUNDT_PACKAGE_MIRROR"),
	}
	if m := os.Getenv("BUNDT_IMAGE_MIRROR"); m != "" {
		c.ImageMirrors = strings.Split(m, ",")
	}
	return c
}

func defaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/bundt"
	}
	if d := os.Getenv("XDG_STATE_HOME"); d != "" {
		return filepath.Join(d, "bundt")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/tmp"
	}
	return filepath.Join(home, ".local", "state", "bundt")
}

func defaultCacheDir() string {
	if os.Geteuid() == 0 {
		return "/var/cache/bundt"
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return rundir.Temporary("-cache")
	}
	return filepath.Join(dir, "bundt")
}

// maxSocketPath is the longest path of a unix socket (sun_path less its NUL);
// maxSocketName is the longest name bundt makes below the run directory.
const (
	maxSocketPath = 107
	maxSocketName = len("/m/i-0123456789abcdef0/eni-0123456789abcdef0.sock")
)

// complete fills in what is derived and refuses what cannot work.
func (c *Config) complete() error {
	if c.DataDir == "" {
		return fmt.Errorf("--data-dir must not be empty")
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return fmt.Errorf("resolving --data-dir: %w", err)
	}
	c.DataDir = dir
	if c.CacheDir == "" {
		c.CacheDir = filepath.Join(c.DataDir, "cache")
	}
	if c.CacheDir, err = filepath.Abs(c.CacheDir); err != nil {
		return fmt.Errorf("resolving --cache-dir: %w", err)
	}
	if c.RunDir == "" {
		c.RunDir = c.chooseRunDir()
	}
	if c.RunDir, err = filepath.Abs(c.RunDir); err != nil {
		return fmt.Errorf("resolving --run-dir: %w", err)
	}
	if len(c.RunDir)+maxSocketName > maxSocketPath {
		return fmt.Errorf("--run-dir %s is too long for unix sockets: at most %d characters", c.RunDir, maxSocketPath-maxSocketName)
	}
	if c.Socket == "" {
		c.Socket = filepath.Join(c.RunDir, rundir.Socket)
	}
	if c.VolumeKeyFile == "" {
		c.VolumeKeyFile = filepath.Join(c.DataDir, "volume.key")
	}
	if err := keyring.CheckSource(c.VolumeKeyFile); err != nil {
		return fmt.Errorf("--volume-key-file: %w", err)
	}
	if !model.ValidRegion(c.Region) {
		return fmt.Errorf("--region %q: 2 to 32 lower-case letters, digits and hyphens, for instance local-1", c.Region)
	}
	if c.NodeID == "" {
		if c.NodeID, err = os.Hostname(); err != nil || c.NodeID == "" {
			c.NodeID = "localhost"
		}
	}
	if err := c.checkListen(); err != nil {
		return err
	}
	return c.check()
}

// check refuses values that cannot work.
func (c *Config) check() error {
	switch c.Accel {
	case "", "kvm", "tcg":
	default:
		return fmt.Errorf("--accel %q: must be kvm or tcg", c.Accel)
	}
	if err := c.checkHypervisor(); err != nil {
		return err
	}
	switch c.Network {
	case networkAuto, networkUser, networkKernel:
	default:
		return fmt.Errorf("--network %q: must be auto, user or kernel", c.Network)
	}
	if c.ShutdownGrace < 0 {
		return fmt.Errorf("--shutdown-grace %s: must not be negative", c.ShutdownGrace)
	}
	if c.GuestMemoryMiB < 0 {
		return fmt.Errorf("--guest-memory %d: must not be negative", c.GuestMemoryMiB)
	}
	if c.ReadRate < 0 || c.ChangeRate < 0 {
		return fmt.Errorf("--read-rate %d and --change-rate %d must not be negative", c.ReadRate, c.ChangeRate)
	}
	if c.BuildCacheMiB < 0 || c.BuildCacheMiB > math.MaxInt64>>20 {
		return fmt.Errorf("--build-cache %d: must be from 0 to %d", c.BuildCacheMiB, int64(math.MaxInt64>>20))
	}
	if c.BuildCacheFresh < 0 {
		return fmt.Errorf("--build-cache-fresh %s: must not be negative", c.BuildCacheFresh)
	}
	if _, _, err := c.pools(); err != nil {
		return fmt.Errorf("--pool: %w", err)
	}
	if _, err := fetch.ParseMirrors(c.ImageMirrors); err != nil {
		return fmt.Errorf("--image-mirror: %w", err)
	}
	return c.checkAddresses()
}

// fetcher downloads disk images, indexes and files of recipes.
func (c *Config) fetcher() *fetch.Fetcher {
	mirrors, _ := fetch.ParseMirrors(c.ImageMirrors) // as checked
	return fetch.New(fetch.Options{Host: c.ImportFromHost, Mirrors: mirrors})
}

func (c *Config) checkAddresses() error {
	if c.PublicPool != "" {
		p, err := netip.ParsePrefix(c.PublicPool)
		if err != nil || !p.Addr().Is4() || !p.Addr().IsLoopback() || p.Bits() < 8 || p.Bits() > 28 {
			return fmt.Errorf("--public-pool %q: must be a part of 127.0.0.0/8 of at least 16 addresses, or empty", c.PublicPool)
		}
	}
	for _, s := range c.HostAddresses {
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is4() || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() {
			return fmt.Errorf("--host-addresses %q: must be IPv4 addresses of this host that others can reach", s)
		}
	}
	return nil
}

func (c *Config) cacheLimits() cloud.CacheLimits {
	return cloud.CacheLimits{Bytes: c.BuildCacheMiB << 20, Volatile: c.BuildCacheFresh}
}

func (c *Config) hostAddresses() (out []netip.Addr) {
	for _, s := range c.HostAddresses {
		out = append(out, netip.MustParseAddr(s)) // as checked
	}
	return out
}

// chooseRunDir keeps daemons with different data directories apart.
func (c *Config) chooseRunDir() string {
	if c.DataDir == defaultDataDir() {
		return rundir.Default(os.Getenv)
	}
	if d := filepath.Join(c.DataDir, "run"); len(d)+maxSocketName <= maxSocketPath {
		return d
	}
	sum := sha256.Sum256([]byte(c.DataDir))
	return rundir.Temporary("-" + hex.EncodeToString(sum[:4]))
}

func (c *Config) publicPool() netip.Prefix {
	p, err := netip.ParsePrefix(c.PublicPool)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func (d *Daemon) runPath(name string) string { return filepath.Join(d.cfg.RunDir, name) }
