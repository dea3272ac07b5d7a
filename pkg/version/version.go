// Package version owns what this build is: version, commit and date, set by the
// linker (see Makefile). It imports no other package of this project.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set by -ldflags "-X …"; a build without them falls back to what the Go
// toolchain recorded.
var (
	version = ""
	commit  = ""
	date    = ""
)

// Info describes a build.
type Info struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Date     string `json:"date,omitempty"` // of the commit, RFC 3339
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Get returns what is known of the running binary.
func Get() Info {
	i := Info{
		Version: version, Commit: commit, Date: date,
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if b, ok := debug.ReadBuildInfo(); ok {
		i.fill(b)
	}
	if i.Version == "" {
		i.Version = "devel"
	}
	return i
}

func (i *Info) fill(b *debug.BuildInfo) {
	if i.Version == "" && b.Main.Version != "(devel)" {
		i.Version = b.Main.Version
	}
	for _, s := range b.Settings {
		switch {
		case s.Key == "vcs.revision" && i.Commit == "":
			i.Commit = s.Value
		case s.Key == "vcs.time" && i.Date == "":
			i.Date = s.Value
		}
	}
}

// String is one line for people: "bundt 1.2.3 (abc1234, 2026-01-02T15:04:05Z, go1.26 linux/amd64)".
func (i Info) String() string {
	s := "bundt " + i.Version + " ("
	if i.Commit != "" {
		s += i.Commit[:min(12, len(i.Commit))] + ", "
	}
	if i.Date != "" {
		s += i.Date + ", "
	}
	return fmt.Sprintf("%s%s %s)", s, i.Go, i.Platform)
}
