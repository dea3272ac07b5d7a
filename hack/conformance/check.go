package conformance

import (
	"cmp"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// element is a node of a parsed answer.
type element struct {
	XMLName  xml.Name
	Text     string    `xml:",chardata"`
	Children []element `xml:",any"`
}

var (
	timestamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$`)
	requestID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// Response returns what is wrong with the body of an action's answer.
func (m *Model) Response(action string, body []byte) []string {
	op, ok := m.Operations[action]
	if !ok {
		return []string{"the model has no action " + action}
	}
	root, problem := parse(body)
	if problem != "" {
		return []string{problem}
	}
	c := checker{model: m}
	if got, want := root.XMLName.Local, action+"Response"; got != want {
		c.problem("", "the answer is a %s, want %s", got, want)
	}
	ids := 0
	rest := slices.DeleteFunc(slices.Clone(root.Children), func(e element) bool {
		if e.XMLName.Local != "requestId" {
			return false
		}
		if ids++; !requestID.MatchString(e.Text) {
			c.problem("requestId", "%q is no request id", e.Text)
		}
		return true
	})
	if ids != 1 {
		c.problem("requestId", "there are %d", ids)
	}
	if op.Output != nil && len(m.Shapes[op.Output.Shape].Members) > 0 {
		c.structure("", op.Output.Shape, rest)
	} else if len(rest) != 1 || rest[0].XMLName.Local != "return" || rest[0].Text != "true" {
		c.problem("", "an action without a result answers <return>true</return>")
	}
	return c.problems
}

// Error returns what is wrong with the body of an error.
func (m *Model) Error(body []byte) []string {
	root, problem := parse(body)
	if problem != "" {
		return []string{problem}
	}
	var shape struct {
		XMLName xml.Name `xml:"Response"`
		Errors  []struct {
			Code    string `xml:"Code"`
			Message string `xml:"Message"`
		} `xml:"Errors>Error"`
		RequestID string `xml:"RequestID"`
	}
	if err := xml.Unmarshal(body, &shape); err != nil {
		return []string{fmt.Sprintf("%s is no error: %v", root.XMLName.Local, err)}
	}
	c := checker{model: m}
	if len(shape.Errors) != 1 {
		c.problem("Errors", "there are %d", len(shape.Errors))
	}
	if !requestID.MatchString(shape.RequestID) {
		c.problem("RequestID", "%q is no request id", shape.RequestID)
	}
	for _, e := range shape.Errors {
		if !knownCode(e.Code) {
			c.problem("Code", "EC2 has no error %q", e.Code)
		}
		if strings.TrimSpace(e.Message) == "" {
			c.problem("Message", "%s says nothing", e.Code)
		}
	}
	return c.problems
}

func parse(body []byte) (root element, problem string) {
	if err := xml.Unmarshal(body, &root); err != nil {
		return root, fmt.Sprintf("the answer is no XML: %v: %.200s", err, body)
	}
	return root, ""
}

type checker struct {
	model    *Model
	problems []string
}

func (c *checker) problem(path, format string, args ...any) {
	c.problems = append(c.problems, strings.TrimPrefix(path+": ", ": ")+fmt.Sprintf(format, args...))
}

// structure checks the members of a structure, each of which is there once at most.
func (c *checker) structure(path, name string, elements []element) {
	s := c.model.Shapes[name]
	byElement := map[string]string{} // element's name -> member's
	for member, r := range s.Members {
		location := r.LocationName
		if location == "" {
			location = member
		}
		byElement[location] = member
	}
	seen := map[string]bool{}
	for _, e := range elements {
		member, ok := byElement[e.XMLName.Local]
		at := path + "/" + e.XMLName.Local
		switch {
		case !ok:
			c.problem(at, "%s has no such element", name)
			continue
		case seen[member]:
			c.problem(at, "it is there twice")
		}
		seen[member] = true
		c.value(at, member, s.Members[member].Shape, e)
	}
	for _, member := range slices.Concat(s.Required, always[name]) {
		if !seen[member] {
			c.problem(path, "%s lacks %s", name, member)
		}
	}
}

// value checks one element's content against its member's shape.
func (c *checker) value(path, member, name string, e element) {
	s := c.model.Shapes[name]
	if s.Type != "structure" && s.Type != "list" && len(e.Children) > 0 {
		c.problem(path, "a %s has elements in it", s.Type)
	}
	switch s.Type {
	case "structure":
		c.structure(path, name, e.Children)
	case "list":
		for i, item := range e.Children {
			at := fmt.Sprintf("%s/%d", path, i)
			// Almost every list has items; the model names the items of few lists.
			if item.XMLName.Local != cmp.Or(s.Member.LocationName, "item") {
				c.problem(at, "an item is called %s", item.XMLName.Local)
			}
			c.value(at, strings.TrimSuffix(member, "s"), s.Member.Shape, item)
		}
	default:
		if !slices.Contains(beyond[name], e.Text) {
			c.scalar(path, member, s, e.Text)
		}
	}
}

func (c *checker) scalar(path, member string, s *shape, text string) {
	var err error
	switch s.Type {
	case "string":
		if s.Enum != nil && !slices.Contains(s.Enum, text) {
			c.problem(path, "%q is none of %s", text, strings.Join(s.Enum, ", "))
		}
		if form, ok := forms[member]; ok && text != "" && !form.MatchString(text) {
			c.problem(path, "%q has not the form %s", text, form)
		}
	case "boolean":
		if text != "true" && text != "false" {
			c.problem(path, "%q is no boolean", text)
		}
	case "integer":
		_, err = strconv.ParseInt(text, 10, 32)
	case "long":
		_, err = strconv.ParseInt(text, 10, 64)
	case "float", "double":
		_, err = strconv.ParseFloat(text, 64)
	case "timestamp":
		if !timestamp.MatchString(text) {
			c.problem(path, "%q is no timestamp", text)
		}
		if strings.HasPrefix(text, "0001-") {
			c.problem(path, "the time is not set")
		}
	case "blob":
		_, err = base64.StdEncoding.DecodeString(text)
	default:
		c.problem(path, "a %s is not checked", s.Type)
	}
	if err != nil {
		c.problem(path, "%q is no %s", text, s.Type)
	}
}
