package component

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/recipe"
)

// RebootCode is the exit code by which a script asks for a reboot and to be run
// again after it.
const RebootCode = 194

// Command is what a guest's root runs for a step.
type Command struct {
	Script string
	Bash   bool          // by bash, where there is one; else by sh, ending with the first failure
	Reboot bool          // then restart the guest
	Delay  time.Duration // before the reboot
}

// Command is the step's script. The step must have been expanded.
func (s *Step) Command() (Command, error) {
	if s.Run != "" {
		return Command{Script: s.Run}, nil
	}
	switch in := s.Inputs.Value.(type) {
	case *recipe.ExecuteBash:
		return Command{Script: strings.Join(in.Commands, "\n"), Bash: true}, nil
	case *recipe.Reboot:
		return Command{Reboot: true, Delay: time.Duration(in.DelaySeconds) * time.Second}, nil
	}
	script, err := s.script()
	return Command{Script: script}, err
}

func (s *Step) script() (string, error) {
	switch in := s.Inputs.Value.(type) {
	case *recipe.ExecuteBinary:
		return words(append([]string{in.Path}, in.Arguments...)...), nil
	case *[]recipe.CreateFile:
		return each(*in, func(f recipe.CreateFile) string { return createFile(f, s.Action == "AppendFile") }), nil
	case *[]recipe.CreateFolder:
		return each(*in, func(f recipe.CreateFolder) string {
			return words("mkdir", "-p", f.Path) + attributes(f.Path, f.Owner, f.Group, string(f.Permissions))
		}), nil
	case *[]recipe.CreateSymlink:
		return each(*in, func(l recipe.CreateSymlink) string {
			if l.Force {
				return words("ln", "-sfn", l.Target, l.Path)
			}
			return words("ln", "-s", l.Target, l.Path)
		}), nil
	case *[]recipe.DeleteFile:
		return each(*in, func(f recipe.DeleteFile) string { return words("rm", f.Path) }), nil
	case *[]recipe.DeleteFolder:
		return each(*in, func(f recipe.DeleteFolder) string {
			if f.Force {
				return words("rm", "-r", f.Path)
			}
			return words("rmdir", f.Path)
		}), nil
	case *[]recipe.Transfer:
		return each(*in, s.transfer), nil
	case *[]recipe.ListFiles:
		return each(*in, func(l recipe.ListFiles) string { return words("find", l.Path, "-maxdepth", "1", "-type", "f") }), nil
	case *[]recipe.SetOwner:
		return each(*in, func(o recipe.SetOwner) string {
			return words(append(s.recursive("chown"), ownership(o.Owner, o.Group), o.Path)...)
		}), nil
	case *[]recipe.SetPermissions:
		return each(*in, func(p recipe.SetPermissions) string {
			return words(append(s.recursive("chmod"), string(p.Permissions), p.Path)...)
		}), nil
	case *recipe.WebDownloads:
		return each(*in, download), nil
	case *recipe.UpdateOS:
		return updateOS(in), nil
	case *recipe.Assert:
		return assert(in)
	}
	return "", fmt.Errorf("the action %s cannot be run", s.Action)
}

// each makes one line, or more, for each input.
func each[T any](inputs []T, line func(T) string) string {
	var b strings.Builder
	for _, in := range inputs {
		b.WriteString(line(in) + "\n")
	}
	return b.String()
}

// quote makes one word of a POSIX shell of any text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func words(w ...string) string {
	quoted := make([]string, len(w))
	for i := range w {
		quoted[i] = quote(w[i])
	}
	return strings.Join(quoted, " ")
}

func (s *Step) recursive(command string) []string {
	if strings.HasPrefix(s.Action, "SetFolder") {
		return []string{command, "-R"}
	}
	return []string{command}
}

func ownership(owner, group string) string {
	if group == "" {
		return owner
	}
	return owner + ":" + group
}

// attributes are further lines that set what was given of a new file's owner and mode.
func attributes(path, owner, group, permissions string) string {
	out := ""
	if o := ownership(owner, group); o != "" {
		out += "\n" + words("chown", o, path)
	}
	if permissions != "" {
		out += "\n" + words("chmod", permissions, path)
	}
	return out
}

// refuse is a line that fails if there is a file already and it may not be replaced.
func refuse(path string, overwrite *bool) string {
	if overwrite == nil || *overwrite {
		return ""
	}
	return fmt.Sprintf("if [ -e %s ]; then echo %s >&2; exit 1; fi\n", quote(path), quote(path+" is there already, and overwrite is false"))
}

func createFile(f recipe.CreateFile, more bool) string {
	to := " > "
	if more {
		to = " >> "
	}
	return refuse(f.Path, f.Overwrite) + words("printf", "%s", string(f.Content)) + to + quote(f.Path) +
		attributes(f.Path, f.Owner, f.Group, string(f.Permissions))
}

func (s *Step) transfer(t recipe.Transfer) string {
	command := map[string][]string{
		"CopyFile": {"cp", "-p"}, "CopyFolder": {"cp", "-a"}, "MoveFile": {"mv"}, "MoveFolder": {"mv"},
	}[s.Action]
	return refuse(t.Destination, t.Overwrite) + words(append(command, t.Source, t.Destination)...)
}

// download uses what the guest has, and checks what came before it is in its place.
func download(w recipe.WebDownload) string {
	tmp := w.Destination + ".part"
	out := refuse(w.Destination, w.Overwrite) +
		"if command -v curl >/dev/null; then " + words("curl", "-fsSL", "-o", tmp, w.Source) +
		"; else " + words("wget", "-q", "-O", tmp, w.Source) + "; fi\n"
	if w.Checksum != "" {
		sum := strings.ToLower(w.Algorithm) + "sum"
		out += fmt.Sprintf("got=$(%s %s | cut -d ' ' -f 1)\n", sum, quote(tmp)) +
			fmt.Sprintf("if [ \"$got\" != %s ]; then %s; echo \"%s is $got\" >&2; exit 1; fi\n", quote(strings.ToLower(w.Checksum)), words("rm", tmp), w.Algorithm)
	}
	return out + words("mv", tmp, w.Destination)
}

// updateOS knows the package managers of the images that there are.
func updateOS(u *recipe.UpdateOS) string {
	hold, release := "", ""
	if len(u.Exclude) > 0 {
		hold = words(append([]string{"apt-mark", "hold"}, u.Exclude...)...) + "\n"
		release = words(append([]string{"apt-mark", "unhold"}, u.Exclude...)...) + "\n"
	}
	upgrade := "apt-get -y -o Dpkg::Options::=--force-confold dist-upgrade\n"
	if len(u.Include) > 0 {
		upgrade = words(append([]string{"apt-get", "-y", "--only-upgrade", "install"}, u.Include...)...) + "\n"
	}
	return "if ! command -v apt-get >/dev/null; then echo 'UpdateOS knows apt only, which this image does not have' >&2; exit 1; fi\n" +
		"export DEBIAN_FRONTEND=noninteractive\napt-get update\n" + hold + upgrade + release
}

// assert is decided here but for what only the guest knows.
func assert(a *recipe.Assert) (string, error) {
	test := func(flag, path recipe.Value) string {
		return fmt.Sprintf("[ %s %s ] || { echo %s >&2; exit 1; }", flag, quote(string(path)), quote(string(path)+" is not there"))
	}
	switch {
	case a.FileExists != nil:
		return test("-f", *a.FileExists), nil
	case a.FolderExists != nil:
		return test("-d", *a.FolderExists), nil
	case a.BinaryExists != nil:
		return "command -v " + quote(string(*a.BinaryExists)), nil
	}
	holds, err := compare(a)
	if err != nil || holds {
		return "true", err
	}
	value := ""
	if a.Value != nil {
		value = string(*a.Value)
	}
	return "echo " + quote(fmt.Sprintf("the assertion does not hold for %q", value)) + " >&2; exit 1", nil
}

func compare(a *recipe.Assert) (bool, error) {
	numbers := func(base recipe.Value, holds func(value, base float64) bool) bool {
		x, err := strconv.ParseFloat(strings.TrimSpace(string(*a.Value)), 64)
		y, berr := strconv.ParseFloat(strings.TrimSpace(string(base)), 64)
		return err == nil && berr == nil && holds(x, y)
	}
	switch {
	case a.StringIsEmpty != nil:
		return *a.StringIsEmpty == "", nil
	case a.StringEquals != nil:
		return strings.EqualFold(string(*a.StringEquals), string(*a.Value)), nil
	case a.NumberEquals != nil:
		return numbers(*a.NumberEquals, func(v, b float64) bool { return v == b }), nil
	case a.NumberLessThan != nil:
		return numbers(*a.NumberLessThan, func(v, b float64) bool { return v < b }), nil
	case a.NumberGreaterThan != nil:
		return numbers(*a.NumberGreaterThan, func(v, b float64) bool { return v > b }), nil
	}
	p, err := regexp.Compile("(?i)" + string(*a.PatternMatches))
	if err != nil {
		return false, fmt.Errorf("reading the pattern: %w", err)
	}
	return p.MatchString(string(*a.Value)), nil
}
