package recipe

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// The inputs of actions, as EC2 Image Builder has them.
// https://docs.aws.amazon.com/imagebuilder/latest/userguide/toe-action-modules.html
type (
	// ExecuteBash runs its commands as one bash script.
	ExecuteBash struct {
		Commands []string `yaml:"commands" required:"true" json:"commands"`
	}
	// ExecuteBinary runs a program.
	ExecuteBinary struct {
		Path      string   `yaml:"path" required:"true" json:"path"`
		Arguments []string `yaml:"arguments" json:"arguments,omitempty"`
	}
	// CreateFile writes a file; AppendFile adds to one.
	CreateFile struct {
		Path        string `yaml:"path" required:"true" json:"path"`
		Content     Value  `yaml:"content" json:"content,omitempty"`
		Owner       string `yaml:"owner" json:"owner,omitempty"`
		Group       string `yaml:"group" json:"group,omitempty"`
		Permissions Value  `yaml:"permissions" json:"permissions,omitempty"`
		Overwrite   *bool  `yaml:"overwrite" json:"overwrite,omitempty"` // true if not written
	}
	// CreateFolder makes a directory with its parents.
	CreateFolder struct {
		Path        string `yaml:"path" required:"true" json:"path"`
		Owner       string `yaml:"owner" json:"owner,omitempty"`
		Group       string `yaml:"group" json:"group,omitempty"`
		Permissions Value  `yaml:"permissions" json:"permissions,omitempty"`
	}
	// CreateSymlink makes Path a symbolic link to Target.
	CreateSymlink struct {
		Path   string `yaml:"path" required:"true" json:"path"`
		Target string `yaml:"target" required:"true" json:"target"`
		Force  bool   `yaml:"force" json:"force,omitempty"`
	}
	// DeleteFile deletes a file.
	DeleteFile struct {
		Path string `yaml:"path" required:"true" json:"path"`
	}
	// DeleteFolder deletes a directory; with Force all that is in it.
	DeleteFolder struct {
		Path  string `yaml:"path" required:"true" json:"path"`
		Force bool   `yaml:"force" json:"force,omitempty"`
	}
	// Transfer is the input of CopyFile, CopyFolder, MoveFile and MoveFolder.
	Transfer struct {
		Source      string `yaml:"source" required:"true" json:"source"`
		Destination string `yaml:"destination" required:"true" json:"destination"`
		Overwrite   *bool  `yaml:"overwrite" json:"overwrite,omitempty"` // true if not written
	}
	// ListFiles prints the paths of a directory's files.
	ListFiles struct {
		Path string `yaml:"path" required:"true" json:"path"`
	}
	// SetOwner is the input of SetFileOwner and SetFolderOwner.
	SetOwner struct {
		Path  string `yaml:"path" required:"true" json:"path"`
		Owner string `yaml:"owner" required:"true" json:"owner"`
		Group string `yaml:"group" json:"group,omitempty"`
	}
	// SetPermissions is the input of SetFilePermissions and SetFolderPermissions.
	SetPermissions struct {
		Path        string `yaml:"path" required:"true" json:"path"`
		Permissions Value  `yaml:"permissions" required:"true" json:"permissions"`
	}
	// WebDownload has the guest download a file.
	WebDownload struct {
		Source      string `yaml:"source" required:"true" json:"source"`
		Destination string `yaml:"destination" required:"true" json:"destination"`
		Checksum    string `yaml:"checksum" json:"checksum,omitempty"` // in hexadecimal
		Algorithm   string `yaml:"algorithm" json:"algorithm,omitempty" enum:"MD5|SHA1|SHA256|SHA512"`
		Overwrite   *bool  `yaml:"overwrite" json:"overwrite,omitempty"` // true if not written
	}
	// UpdateOS installs the distribution's updates.
	UpdateOS struct {
		Include []string `yaml:"include" json:"include,omitempty"` // only these packages
		Exclude []string `yaml:"exclude" json:"exclude,omitempty"` // all but these
	}
	// Reboot restarts the guest; the steps go on when it is back.
	Reboot struct {
		DelaySeconds int64 `yaml:"delaySeconds" json:"delaySeconds,omitempty"`
	}
	// Assert fails unless its one operator holds. Operators of two values compare
	// theirs with Value, texts without regard to case.
	// https://docs.aws.amazon.com/imagebuilder/latest/userguide/toe-comparison-operators.html
	Assert struct {
		StringEquals      *Value `yaml:"stringEquals" json:"stringEquals,omitempty"`
		StringIsEmpty     *Value `yaml:"stringIsEmpty" json:"stringIsEmpty,omitempty"`
		PatternMatches    *Value `yaml:"patternMatches" json:"patternMatches,omitempty"` // a regular expression
		NumberEquals      *Value `yaml:"numberEquals" json:"numberEquals,omitempty"`
		NumberLessThan    *Value `yaml:"numberLessThan" json:"numberLessThan,omitempty"`       // Value is less
		NumberGreaterThan *Value `yaml:"numberGreaterThan" json:"numberGreaterThan,omitempty"` // Value is greater
		FileExists        *Value `yaml:"fileExists" json:"fileExists,omitempty"`
		FolderExists      *Value `yaml:"folderExists" json:"folderExists,omitempty"`
		BinaryExists      *Value `yaml:"binaryExists" json:"binaryExists,omitempty"`
		Value             *Value `yaml:"value" json:"value,omitempty"`
	}
)

// actions makes the inputs of each action.
func actions() map[string]func() any {
	return map[string]func() any{
		"ExecuteBash":          func() any { return new(ExecuteBash) },
		"ExecuteBinary":        func() any { return new(ExecuteBinary) },
		"CreateFile":           func() any { return new([]CreateFile) },
		"AppendFile":           func() any { return new([]CreateFile) },
		"CreateFolder":         func() any { return new([]CreateFolder) },
		"CreateSymlink":        func() any { return new([]CreateSymlink) },
		"DeleteFile":           func() any { return new([]DeleteFile) },
		"DeleteFolder":         func() any { return new([]DeleteFolder) },
		"CopyFile":             func() any { return new([]Transfer) },
		"CopyFolder":           func() any { return new([]Transfer) },
		"MoveFile":             func() any { return new([]Transfer) },
		"MoveFolder":           func() any { return new([]Transfer) },
		"ListFiles":            func() any { return new([]ListFiles) },
		"SetFileOwner":         func() any { return new([]SetOwner) },
		"SetFolderOwner":       func() any { return new([]SetOwner) },
		"SetFilePermissions":   func() any { return new([]SetPermissions) },
		"SetFolderPermissions": func() any { return new([]SetPermissions) },
		"WebDownload":          func() any { return new(WebDownloads) },
		"UpdateOS":             func() any { return new(UpdateOS) },
		"Reboot":               func() any { return new(Reboot) },
		"Assert":               func() any { return new(Assert) },
	}
}

// inputsOptional are the actions that do something without inputs.
var inputsOptional = map[string]bool{"UpdateOS": true, "Reboot": true}

// foreignActions are those of EC2 Image Builder that have no meaning here, or none yet.
var foreignActions = []string{
	"ExecuteDocument", "ExecutePowerShell", "InstallMSI", "InstallPKG", "UninstallMSI", "ReadFile", "SetFileEncoding",
	"S3Download", "S3Upload", "SetRegistry",
}

func newInputs(action string) (any, bool) {
	empty, ok := actions()[action]
	if !ok {
		return nil, false
	}
	return empty(), true
}

// ActionNames are the actions that steps can have, sorted.
func ActionNames() []string { return slices.Sorted(maps.Keys(actions())) }

func (a *Assert) check(d *decoder, at string) {
	alone, compared := 0, 0
	for _, op := range []*Value{a.StringIsEmpty, a.FileExists, a.FolderExists, a.BinaryExists} {
		if op != nil {
			alone++
		}
	}
	for _, op := range []*Value{a.StringEquals, a.PatternMatches, a.NumberEquals, a.NumberLessThan, a.NumberGreaterThan} {
		if op != nil {
			compared++
		}
	}
	switch {
	case alone+compared != 1 && !d.failedAt(at):
		d.at(at, "%s needs exactly one operator", at)
	case (compared == 1) != (a.Value != nil) && !d.failedAt(at):
		d.at(at, "%s: value belongs to the operators that compare, and to these only", at)
	}
	if a.PatternMatches != nil {
		if _, err := regexp.Compile(string(*a.PatternMatches)); err != nil {
			d.at(at+".patternMatches", "%s.patternMatches: %v", at, err)
		}
	}
}

// WebDownloads are the inputs of WebDownload.
type WebDownloads []WebDownload

func (w *WebDownloads) check(d *decoder, at string) {
	for i, l := range *w {
		here := at
		if _, list := d.pos[at+"[0]"]; list {
			here = fmt.Sprintf("%s[%d]", at, i)
		}
		if (l.Checksum == "") != (l.Algorithm == "") {
			d.at(here, "%s: checksum and algorithm go together", here)
		}
	}
}

// Value is a text that may be written as a number or a truth value.
type Value string

func (v *Value) parse(s string) error {
	*v = Value(s)
	return nil
}
