// Package lab owns lessons: texts with steps, each of which can be checked against what
// a cloud really has. A lesson is a YAML file whose texts are Markdown, so that teachers
// write their own. What there is comes from whoever shows the lesson; the package asks
// nobody. It may import the API's types only.
package lab

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/yuin/goldmark"

	"github.com/bundt/bundt/pkg/api/bundttypes"
)

//go:embed lessons/*.yaml
var files embed.FS

// ErrInvalid: a lesson is not as lessons are. The error says where and why.
var ErrInvalid = errors.New("invalid lesson")

// Lesson is a text with steps.
type Lesson struct {
	Name  string `yaml:"name"` // in addresses: lower-case letters, digits and dashes
	Title string `yaml:"title"`
	Intro string `yaml:"intro"` // Markdown
	Steps []Step `yaml:"steps"`
	End   string `yaml:"end"` // Markdown: what is said when all is done
}

// Step is something to do.
type Step struct {
	Title string `yaml:"title"`
	Text  string `yaml:"text"` // Markdown
	Page  string `yaml:"page"` // of the console, where it is done: "launch"
	Check Check  `yaml:"check"`
}

// Check says how one sees that a step is done. Exactly one is set.
type Check struct {
	// Image is an image that was made of "recipe" or of "instance".
	Image string `yaml:"image"`
	// Instance is an instance of an image that was made of "recipe" or of "instance",
	// the twin.
	Instance string `yaml:"instance"`
	// Answers is a TCP port on which a running instance's guest answers.
	Answers int `yaml:"answers"`
	// Gone is that nothing is left of all this: no machine and no image. It can only be
	// the last step's.
	Gone bool `yaml:"gone"`
}

// World is what there is.
type World struct {
	Lineage []bundttypes.LineageNode
	// Answers reports whether the guest of an instance answers on a TCP port.
	Answers func(instanceID string, port int) bool
}

// The sources of images, in checks.
const (
	ofRecipe   = "recipe"
	ofInstance = "instance"
)

// Lessons are those that come with bundt.
func Lessons() ([]Lesson, error) {
	names, err := fs.Glob(files, "lessons/*.yaml")
	if err != nil {
		return nil, err
	}
	var all []Lesson
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		l, err := Parse(name, text)
		if err != nil {
			return nil, err
		}
		all = append(all, *l)
	}
	return all, nil
}

// Parse reads a lesson; its error is ErrInvalid.
func Parse(name string, text []byte) (*Lesson, error) {
	l := &Lesson{}
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(l); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, name, err)
	}
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, name, err)
	}
	return l, nil
}

func (l *Lesson) check() error {
	switch {
	case l.Name == "" || strings.Trim(l.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return fmt.Errorf("its name is %q, not lower-case letters, digits and dashes", l.Name)
	case l.Title == "":
		return errors.New("it has no title")
	case len(l.Steps) == 0:
		return errors.New("it has no steps")
	}
	for i, s := range l.Steps {
		at := fmt.Sprintf("step %d", i+1)
		if s.Title == "" || s.Text == "" {
			return fmt.Errorf("%s needs a title and a text", at)
		}
		if err := s.Check.check(i == len(l.Steps)-1); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}

func (c Check) check(last bool) error {
	set := 0
	for _, is := range []bool{c.Image != "", c.Instance != "", c.Answers != 0, c.Gone} {
		if is {
			set++
		}
	}
	of := []string{"", ofRecipe, ofInstance}
	switch {
	case set != 1:
		return errors.New("its check needs one of image, instance, answers and gone")
	case !slices.Contains(of, c.Image) || !slices.Contains(of, c.Instance):
		return fmt.Errorf("images are of %s or %s", ofRecipe, ofInstance)
	case c.Answers < 0 || c.Answers > 65535:
		return fmt.Errorf("%d is no port", c.Answers)
	case c.Gone && !last:
		return errors.New("only in the last step everything may be gone")
	}
	return nil
}

// gone is the state, in a lineage, of what was removed.
const gone = "gone"

// Done reports which steps are. What a step was about may be gone since: it was done
// if the lineage remembers it, or a later step is done.
func (l *Lesson) Done(w World) []bool {
	done := make([]bool, len(l.Steps))
	for i, s := range l.Steps {
		done[i] = !s.Check.Gone && w.holds(s.Check)
	}
	for i := len(done) - 2; i >= 0; i-- {
		done[i] = done[i] || done[i+1]
	}
	if last := len(done) - 1; l.Steps[last].Check.Gone {
		done[last] = last > 0 && done[last-1] && !w.left()
	}
	return done
}

func (w World) holds(c Check) bool {
	switch {
	case c.Image != "":
		return slices.ContainsFunc(w.Lineage, func(n bundttypes.LineageNode) bool { return w.image(n, c.Image) })
	case c.Instance != "":
		return slices.ContainsFunc(w.Lineage, func(n bundttypes.LineageNode) bool {
			return n.Kind == bundttypes.LineageInstance && w.image(w.node(n.ParentId), c.Instance)
		})
	}
	return slices.ContainsFunc(w.Lineage, func(n bundttypes.LineageNode) bool {
		return n.Kind == bundttypes.LineageInstance && n.State == "running" && w.Answers != nil && w.Answers(n.Id, c.Answers)
	})
}

// image reports whether a node is an image that was made of a recipe or of an instance.
// One that is being made is none yet.
func (w World) image(n bundttypes.LineageNode, of string) bool {
	if n.Kind != bundttypes.LineageImage || n.State != "available" && n.State != gone {
		return false
	}
	return w.node(n.ParentId).Kind == map[string]string{ofRecipe: bundttypes.LineageRecipe, ofInstance: bundttypes.LineageInstance}[of]
}

func (w World) node(id string) bundttypes.LineageNode {
	for _, n := range w.Lineage {
		if n.Id == id {
			return n
		}
	}
	return bundttypes.LineageNode{}
}

// left reports whether a machine or an image is there.
func (w World) left() bool {
	return slices.ContainsFunc(w.Lineage, func(n bundttypes.LineageNode) bool {
		return n.Kind == bundttypes.LineageInstance && n.State != "terminated" && n.State != gone || n.Kind == bundttypes.LineageImage && n.State != gone
	})
}

// HTML is a Markdown text for a page. Raw HTML in it is left out, and so are links
// that are no addresses.
func HTML(markdown string) (template.HTML, error) {
	var b bytes.Buffer
	if err := goldmark.Convert([]byte(markdown), &b); err != nil {
		return "", fmt.Errorf("rendering a text: %w", err)
	}
	return template.HTML(b.String()), nil //nolint:gosec // goldmark escapes, and leaves raw HTML out
}
