package console

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"html/template"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

// kind is how a cell is shown.
type kind string

const (
	plainText kind = ""
	codeText  kind = "code"
	stateText kind = "state"
	whenText  kind = "when"
	mutedText kind = "muted"
	tagsText  kind = "tags"
)

// cell is a value of a table or of a thing's facts.
type cell struct {
	Kind kind
	Text string
	Href string
	Sort string // by which a column is sorted, if not by Text
	More []cell // several values
}

func text[T ~string](s *T) cell { return cell{Text: string(ec2types.Value(s))} }

func code[T ~string](s *T) cell { return cell{Kind: codeText, Text: string(ec2types.Value(s))} }

// number sorts as one.
func number[T ~int32 | ~int64](n *T, unit string) cell {
	if n == nil {
		return cell{}
	}
	c := cell{Text: fmt.Sprint(*n), Sort: fmt.Sprintf("%020d", int64(*n))}
	if unit != "" {
		c.Text += " " + unit
	}
	return c
}

func state[T ~string](s *T) cell { return cell{Kind: stateText, Text: string(ec2types.Value(s))} }

func when(t *time.Time) cell {
	if t == nil || t.IsZero() {
		return cell{}
	}
	return cell{Kind: whenText, Text: t.UTC().Format(time.RFC3339), Sort: t.UTC().Format(time.RFC3339)}
}

func yes(b *bool) cell {
	if ec2types.Value(b) {
		return cell{Text: "yes"}
	}
	return cell{Kind: mutedText, Text: "no"}
}

// link leads to the page of a thing; an id that is none leads nowhere.
func link(id *string) cell {
	c := code(id)
	c.Href = pageOf(c.Text)
	return c
}

// pagesOf are the pages of things, by the prefix of their ids.
var pagesOf = map[string]string{
	"i": "instances", "ami": "images", "vol": "volumes", "snap": "snapshots", "sg": "security-groups", "vpc": "networks", "build": "builds",
}

// pageOf is the page of a thing by its id, "" if it has none of its own.
func pageOf(id string) string {
	prefix, _, ok := strings.Cut(id, "-")
	if page := pagesOf[prefix]; ok && page != "" {
		return Path + page + "/" + url.PathEscape(id)
	}
	return ""
}

func tags(list []ec2types.Tag) cell {
	c := cell{Kind: tagsText}
	for _, t := range list {
		if key := ec2types.Value(t.Key); key != nameTag {
			c.More = append(c.More, cell{Text: key + " = " + ec2types.Value(t.Value)})
		}
	}
	slices.SortFunc(c.More, func(a, b cell) int { return cmp.Compare(a.Text, b.Text) })
	return c
}

// nameTag is what people call a thing.
const nameTag = "Name"

func nameOf(list []ec2types.Tag) string {
	for _, t := range list {
		if ec2types.Value(t.Key) == nameTag {
			return ec2types.Value(t.Value)
		}
	}
	return ""
}

// named is a thing's name, which leads to its page.
func named(id *string, list []ec2types.Tag) cell {
	c := cell{Text: nameOf(list), Href: pageOf(ec2types.Value(id))}
	if c.Text == "" {
		return cell{Kind: mutedText, Text: "–", Sort: "\uffff"}
	}
	return c
}

// column of a table.
type column struct {
	Title string
	Wide  bool // left out on narrow screens
}

// row is a thing.
type row struct {
	ID      string
	Cells   []cell
	Buttons []button // what can be done to it
}

// button does something: to the rows that are chosen, or to the thing of a page.
type button struct {
	Text    string
	Action  string // address of the form
	Danger  string // what to ask before, of what cannot be undone
	Primary bool
	Hidden  map[string]string // more of the form
	Off     string            // why it cannot be pressed now
}

// table lists things of one kind.
type table struct {
	ID      string // of the element, by which what was chosen of columns is kept
	Title   string
	Help    string
	Columns []column
	Rows    []row
	Choose  []button // what can be done to rows that are chosen
	Links   []button // above the table: Action is an address
	Forms   []form   // behind a button each
	Empty   string   // what to do when there is nothing
	EmptyTo *button
	Next    string // address of the next page
	Export  string // address of all of it as a file
	Search  *string
}

// pageSize is how many rows a page of a long list has.
const pageSize = 100

// listing is what the address of a long list asks for.
type listing struct {
	path, search string
	filters      []ec2types.Filter
	token        *string // of the page
}

// listed reads it: a search is for a name, or for the beginning of an id.
func listed(r *request, prefix model.IDPrefix, idFilter string) listing {
	l := listing{path: r.URL.Path, search: strings.TrimSpace(r.URL.Query().Get("q")), token: filled(r.URL.Query().Get("next"))}
	switch {
	case strings.HasPrefix(l.search, string(prefix)+"-"):
		l.filters = []ec2types.Filter{{Name: &idFilter, Values: []string{l.search + "*"}}}
	case l.search != "":
		l.filters = []ec2types.Filter{{Name: new("tag:" + nameTag), Values: []string{"*" + l.search + "*"}}}
	}
	return l
}

// page has the table show one page of the list.
func (l listing) page(t *table, next *string) {
	t.Search = &l.search
	if l.search != "" {
		t.Empty, t.EmptyTo = "None has such a name or id.", nil
	}
	if next != nil {
		t.Next = l.path + "?" + url.Values{"next": {*next}, "q": {l.search}}.Encode()
	}
}

// form asks for what a change needs.
type form struct {
	Title  string
	Help   string
	Action string
	Submit string
	Fields []field
}

// field of a form.
type field struct {
	Name, Label, Help string
	Type              string // of the input; "select", "textarea", "checks" for several of the options
	Value             string
	Options           []option
	Required          bool
	Min, Max          string
	Pattern           string
}

type option struct {
	Value, Text string
	Selected    bool
}

// fact is one about a thing.
type fact struct {
	Name string
	Cell cell
}

// detail is the page of one thing.
type detail struct {
	Kind    string // "Volume"
	Parent  button // the list that it is in
	ID      string
	Name    string
	State   string
	Notes   []string // what is wrong, or good to know
	Buttons []button
	Facts   []fact
	Forms   []form
	Tables  []table
	Graphs  *graphs
	Texts   []block
	Tags    []ec2types.Tag
	Tagged  bool // it can have tags
}

// block is a text as it is.
type block struct {
	ID, Title, Text string
}

// functions are the templates' own.
var functions = template.FuncMap{
	"tone":      tone,
	"ago":       ago,
	"add":       func(a, b int) int { return a + b },
	"params":    params,
	"value":     ec2types.Value[string],
	"size":      size,
	"diffLines": diffLines,
	"hue":       hue,
	"initial":   initial,
}

// hue is a colour for a thing, of six: the same for versions of it.
func hue(name string) int {
	family := strings.TrimRight(name, "-.0123456789")
	h := fnv.New32a()
	_, _ = h.Write([]byte(family)) // a hash takes everything
	return int(h.Sum32() % 6)
}

// initial stands for a thing in a picture.
func initial(name string) string {
	for _, c := range name {
		return string(unicode.ToUpper(c))
	}
	return ""
}

// params makes a map of what a part of a template is given.
func params(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("params of %d values", len(pairs))
	}
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return m, nil
}

// tones of states: good, busy, bad, and all others.
var tones = map[string]string{
	"running": "good", "available": "good", "in-use": "good", "completed": "good", "attached": "good", "reachable": "good", "ok": "good", "passed": "good", "active": "good", "done": "good",
	"pending": "busy", "stopping": "busy", "shutting-down": "busy", "creating": "busy", "attaching": "busy", "detaching": "busy", "deleting": "busy", "modifying": "busy", "optimizing": "busy",
	"baking": "busy", "building": "busy", "testing": "busy", "validating": "busy", "imaging": "busy", "initializing": "busy", "waiting": "busy",
	"added": "good", "changed": "busy", "removed": "bad",
	"failed": "bad", "error": "bad", "invalid": "bad", "impaired": "bad", "unreachable": "bad",
}

func tone(state string) string { return cmp.Or(tones[state], "quiet") }

// ago is how long ago a time was, for people.
func ago(stamp string) string {
	t, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		return stamp
	}
	d := time.Since(t)
	if d < 0 {
		return "in " + span(-d)
	}
	if d < 5*time.Second {
		return "now"
	}
	return span(d) + " ago"
}

func span(d time.Duration) string {
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{365 * 24 * time.Hour, "year"}, {24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if n := int(d / u.of); n > 1 {
			return fmt.Sprintf("%d %ss", n, u.name)
		} else if n == 1 {
			return "1 " + u.name
		}
	}
	return "0 seconds"
}

// missing is an error for a form's field.
func missing(what string) error {
	return model.Errorf(model.CodeMissingParameter, "Say %s", what)
}

// filled is a pointer to a form's value, nil if it is empty.
func filled(s string) *string {
	if s = strings.TrimSpace(s); s == "" {
		return nil
	}
	return &s
}
