package setuptest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// machine is a distribution as hack/setup sees it.
type machine struct {
	release string   // ID and PRETTY_NAME, of /etc/os-release
	manager string   // apt, dnf or none
	listed  []string // what the package manager has, beside what everybody has
	nothing bool     // its lists are empty
	has     []string // files and commands that are there
	ci      bool
}

// everywhere are packages that every distribution here has.
var everywhere = map[string][]string{
	"apt": {"bash", "curl", "debian-archive-keyring", "e2fsprogs", "gcc", "git", "iproute2", "libc6-dev", "libvirt-daemon", "libvirt-daemon-driver-qemu", "make", "mmdebstrap", "openssh-client", "openssl", "ovmf", "python3",
		"qemu-efi-aarch64", "qemu-system-arm", "qemu-system-x86", "qemu-user-static", "qemu-utils", "uidmap"},
	"dnf": {"bash", "curl", "debian-keyring", "e2fsprogs", "edk2-aarch64", "edk2-ovmf", "gcc", "git", "glibc-devel", "iproute", "libvirt-daemon", "libvirt-daemon-driver-qemu", "make", "mmdebstrap", "openssh-clients", "openssl",
		"python3", "qemu-img", "qemu-system-aarch64-core", "qemu-system-x86-core", "qemu-user-static-aarch64", "shadow-utils"},
}

// clients are the packages of AWS's clients, of a browser and of a registry.
var clients = map[string][]string{
	"apt": {"ansible", "awscli", "chromium", "docker-registry", "packer", "python3-boto3"},
	"dnf": {"ansible", "awscli2", "chromium", "docker-distribution", "packer", "python3-boto3"},
}

func without(list []string, gone ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(gone, s) })
}

// tools are what hack/setup is written in.
var tools = []string{"bash", "cat", "dirname", "env", "sed", "sort"}

// setup runs hack/setup on the machine, whose commands are stand-ins.
func (m machine) setup(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	root := t.TempDir()
	write := func(path, text string, mode os.FileMode) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/os-release", m.release, 0o644)
	for _, name := range tools {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	write("bin/sudo", "#!/bin/sh\nexec \"$@\"\n", 0o755)
	write("bin/uname", "#!/bin/sh\nif [ \"$1\" = -m ]; then echo x86_64; else echo Linux; fi\n", 0o755)
	listed := strings.Join(append(slices.Clone(everywhere[m.manager]), m.listed...), "|")
	if m.nothing {
		listed = "no-package"
	}
	switch m.manager {
	case "apt":
		write("bin/apt-get", "#!/bin/sh\necho \"apt-get $*\" >&2\n", 0o755)
		write("bin/apt-cache", "#!/bin/sh\n[ \"$1\" = madison ] || exit 9\ncase $2 in\n"+listed+") echo \"$2 | 1 |\" ;;\nesac\n", 0o755)
	case "dnf":
		write("bin/dnf", "#!/bin/sh\n[ \"$1 $2\" = '-q repoquery' ] || exit 9\ncase $3 in\n"+listed+") echo \"$3\" ;;\nesac\n", 0o755)
	}
	for _, name := range m.has {
		if !strings.HasPrefix(name, "/") {
			name = "bin/" + name
		}
		write(name, "#!/bin/sh\n", 0o755)
	}
	cmd := exec.Command(filepath.Join(root, "bin", "bash"), append([]string{"../setup"}, args...)...)
	cmd.Env = []string{"PATH=" + filepath.Join(root, "bin"), "SETUP_ROOT=" + root, "HOME=" + root}
	if m.ci {
		cmd.Env = append(cmd.Env, "CI=true")
	}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

var (
	debian12 = machine{release: "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", manager: "apt", listed: clients["apt"]}
	debian13 = machine{release: "ID=debian\nVERSION_ID=\"13\"\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n", manager: "apt", listed: clients["apt"]}
	jammy    = machine{release: "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\nPRETTY_NAME=\"Ubuntu 22.04.5 LTS\"\n", manager: "apt", listed: without(clients["apt"], "chromium")}
	noble    = machine{release: "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\nPRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\n", manager: "apt", listed: without(clients["apt"], "awscli", "chromium")}
	fedora   = machine{release: "ID=fedora\nVERSION_ID=41\nPRETTY_NAME=\"Fedora Linux 41\"\n", manager: "dnf", listed: without(clients["dnf"], "packer")}
)

func (m machine) with(has ...string) machine { m.has = append(slices.Clone(m.has), has...); return m }

func (m machine) inCI() machine { m.ci = true; return m }

func (m machine) listing(listed ...string) machine { m.listed = listed; return m }

func TestMissing(t *testing.T) {
	want := func(m machine, gone ...string) []string {
		all := append(without(everywhere[m.manager], "bash"), clients[m.manager]...)
		slices.Sort(all)
		return without(all, gone...)
	}
	for name, tt := range map[string]struct {
		m       machine
		want    []string
		leftOut []string
	}{
		"Debian 12":               {debian12, want(debian12), nil},
		"Debian 13":               {debian13, want(debian13), nil},
		"Debian without a client": {debian13.listing(), want(debian13), nil}, // and installing it fails
		"Ubuntu 22.04":            {jammy, want(jammy, "chromium"), []string{"Ubuntu 22.04.5 LTS has no package chromium: what needs chromium is not tested here"}},
		"Ubuntu 24.04":            {noble, want(noble, "awscli", "chromium"), []string{"Ubuntu 24.04.1 LTS has no package awscli: what needs aws is not tested here", "no package chromium"}},
		"Ubuntu 24.04 in CI":      {noble.inCI(), want(noble), nil},
		"Fedora":                  {fedora, want(fedora, "packer"), []string{"Fedora Linux 41 has no package packer: what needs packer is not tested here"}},
		"Fedora in CI":            {fedora.inCI(), want(fedora), nil},
		"its own aws": {noble.with("/usr/bin/aws", "curl", "/usr/include/stdlib.h", "/usr/lib/python3.13/site-packages/boto3"),
			want(noble, "awscli", "chromium", "curl", "libc6-dev", "python3-boto3"), []string{"no package chromium"}},
		"lists that are empty": {machine{release: noble.release, manager: "apt", nothing: true}, want(noble), nil},
		"either file":          {debian13.with("qemu-aarch64", "/usr/share/OVMF/OVMF_CODE_4M.fd"), want(debian13, "qemu-user-static", "ovmf"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, err := tt.m.setup(t, "missing", "test")
			if err != nil {
				t.Fatalf("%v: %s", err, errs)
			}
			if got := strings.Fields(out); !slices.Equal(got, tt.want) {
				t.Errorf("it would install\n%q, want\n%q", got, tt.want)
			}
			if got := strings.Count(errs, "LEFT OUT"); got != len(tt.leftOut) {
				t.Errorf("it leaves out: %s", errs)
			}
			for _, line := range tt.leftOut {
				if !strings.Contains(errs, line) {
					t.Errorf("it says %q and not %q", errs, line)
				}
			}
		})
	}
}

func TestLacks(t *testing.T) {
	for name, tt := range map[string]struct {
		m      machine
		client string
		want   bool
	}{
		"no package":           {noble, "aws", true},
		"a package":            {jammy, "aws", false},
		"installed otherwise":  {noble.with("/usr/bin/aws"), "aws", false},
		"in CI":                {noble.inCI(), "aws", false},
		"on Debian":            {debian12.listing(), "aws", false},
		"packer of Fedora":     {fedora, "packer", true},
		"ansible of Fedora":    {fedora, "ansible-playbook", false},
		"an unknown one":       {fedora, "terraform", false},
		"lists that are empty": {machine{release: noble.release, manager: "apt", nothing: true}, "aws", false},
		"no package manager":   {machine{release: "ID=other\n", manager: "none"}, "aws", false},
	} {
		if _, errs, err := tt.m.setup(t, "lacks", tt.client); (err == nil) != tt.want {
			t.Errorf("%s: lacks says %v: %s", name, err, errs)
		}
	}
}

// TestInstall: what is missing is installed, and what still is missing then is an error.
func TestInstall(t *testing.T) {
	_, errs, err := noble.setup(t, "test")
	if err == nil || !strings.Contains(errs, "apt-get install") || strings.Contains(errs, "install -y -qq --no-install-recommends ansible awscli") {
		t.Errorf("%v: %s", err, errs)
	}
	if !strings.Contains(errs, "still missing after installing: ansible") {
		t.Errorf("it does not say what is missing: %s", errs)
	}
	if _, errs, err := (machine{release: "ID=other\n", manager: "none"}).setup(t, "demo"); err == nil || !strings.Contains(errs, "install by hand what provides") {
		t.Errorf("a machine without a package manager: %v: %s", err, errs)
	}
}
