package version

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestStringShortensTheCommit(t *testing.T) {
	i := Info{Version: "1.2.3", Commit: strings.Repeat("a", 40), Date: "2026-01-02T15:04:05Z", Go: "go1.26", Platform: "linux/arm64"}
	const want = "bundt 1.2.3 (aaaaaaaaaaaa, 2026-01-02T15:04:05Z, go1.26 linux/arm64)"
	if got := i.String(); got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}

func TestLinkerWinsOverBuildInfo(t *testing.T) {
	b := &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "fromvcs"}, {Key: "vcs.time", Value: "t"}}}
	b.Main.Version = "v0.9.0"
	i := Info{Commit: "fromlinker"}
	i.fill(b)
	if i.Commit != "fromlinker" || i.Date != "t" || i.Version != "v0.9.0" {
		t.Errorf("fill gave %+v", i)
	}
}
