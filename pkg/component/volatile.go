package component

import (
	"regexp"
	"strings"

	"github.com/bundt/bundt/pkg/recipe"
)

// outside are the commands by which scripts usually get what others publish.
var outside = regexp.MustCompile(`\b(apt|apt-get|aptitude|dnf|yum|zypper|apk|pacman|snap|flatpak|pip[0-9.]*|pipx|npm|npx|yarn|pnpm|gem|cargo|go (get|install|mod)|git (clone|fetch|pull)|curl|wget|rsync|scp|sftp|docker|podman|skopeo)\b`)

// Volatile reports whether the step may give something else another time, because
// it takes something from outside of which nothing says what it must be: an update
// of the system, a download without a checksum, or a script with a command that
// gets things. It errs on the side of yes.
func (s *Step) Volatile() bool {
	if s.Run != "" {
		return outside.MatchString(s.Run)
	}
	switch in := s.Inputs.Value.(type) {
	case *recipe.UpdateOS:
		return true
	case *recipe.WebDownloads:
		for _, d := range *in {
			if d.Checksum == "" {
				return true
			}
		}
	case *recipe.ExecuteBash:
		return outside.MatchString(strings.Join(in.Commands, "\n"))
	case *recipe.ExecuteBinary:
		return outside.MatchString(strings.Join(append([]string{in.Path}, in.Arguments...), " "))
	}
	return false
}
