package main

import (
	"bytes"
	"cmp"
	"fmt"
	"go/format"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// generator turns a trimmed model into Go source.
type generator struct {
	service         service
	model           *model
	inputs, outputs map[string]bool   // shapes that requests and responses are made of
	goNames         map[string]string // structure shape -> Go type
	whole           map[string]bool   // structure shapes that are a request or a response
	declared        map[string]string // Go identifier -> what declared it
}

func newGenerator(svc service, m *model) (*generator, error) {
	inputs, outputs, err := m.reachable()
	if err != nil {
		return nil, err
	}
	g := &generator{service: svc, model: m, inputs: inputs, outputs: outputs, goNames: map[string]string{}, whole: map[string]bool{}, declared: map[string]string{}}
	nested := g.nestedShapes()
	for name, s := range m.Shapes {
		if s.Type == "structure" {
			g.goNames[name] = upperFirst(name)
		}
	}
	for name, op := range m.Operations {
		if op.Input != nil {
			g.goNames[op.Input.Shape], g.whole[op.Input.Shape] = name+"Input", true
		}
		if op.Output != nil && !nested[op.Output.Shape] {
			g.goNames[op.Output.Shape], g.whole[op.Output.Shape] = name+"Output", true
		}
	}
	return g, nil
}

// nestedShapes returns the shapes that are part of another shape.
func (g *generator) nestedShapes() map[string]bool {
	nested := map[string]bool{}
	for _, s := range g.model.Shapes {
		for _, member := range s.Members {
			nested[member.Shape] = true
		}
		if s.Member != nil {
			nested[s.Member.Shape] = true
		}
	}
	return nested
}

// declare records a Go identifier and fails if it is taken.
func (g *generator) declare(name, by string) error {
	if other, taken := g.declared[name]; taken {
		return fmt.Errorf("%s and %s both become %s", other, by, name)
	}
	g.declared[name] = by
	return nil
}

// sortedOps returns the operations' names in order.
func (g *generator) sortedOps() []string { return slices.Sorted(maps.Keys(g.model.Operations)) }

// isOperationShape reports whether the shape is declared with its operation.
func (g *generator) isOperationShape(shape string) bool { return g.whole[shape] }

// typesFile has the structures that requests and responses are made of.
func (g *generator) typesFile() ([]byte, error) {
	var body bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(g.model.Shapes)) {
		if g.model.Shapes[name].Type != "structure" || g.isOperationShape(name) {
			continue
		}
		goName := g.goNames[name]
		fmt.Fprintf(&body, "// %s is %s's structure of that name.\n// %s%s.html\n", goName, g.service.title, g.service.reference, name)
		if err := g.writeStruct(&body, goName, name); err != nil {
			return nil, err
		}
	}
	return g.file(g.service.pkg(), body.Bytes())
}

// operationsFile has each operation's input and output, and the table of operations.
func (g *generator) operationsFile() ([]byte, error) {
	var body bytes.Buffer
	for _, name := range g.sortedOps() {
		op := g.model.Operations[name]
		fmt.Fprintf(&body, "// %sInput is the request of %s.\n// %s%s.html\n", name, name, g.service.reference, name)
		if err := g.writeBody(&body, name, "Input", op.Input); err != nil {
			return nil, err
		}
		fmt.Fprintf(&body, "// %sOutput is the response of %s.\n", name, name)
		if err := g.writeBody(&body, name, "Output", op.Output); err != nil {
			return nil, err
		}
	}
	imports := []string{"github.com/bundt/bundt/pkg/api/ec2types"}
	element := "ec2types.Operation"
	if g.service.name == "ec2" {
		imports, element = nil, "Operation"
	}
	fmt.Fprintf(&body, "var operations = []%s{\n", element)
	for _, name := range g.sortedOps() {
		g.writeOperation(&body, name)
	}
	body.WriteString("}\n")
	return g.file(g.service.pkg(), body.Bytes(), imports...)
}

// writeBody writes the structure of an operation's whole request or response.
func (g *generator) writeBody(body *bytes.Buffer, op, suffix string, r *ref) error {
	switch {
	case r == nil:
		fmt.Fprintf(body, "type %s%s struct{}\n\n", op, suffix)
		return g.declare(op+suffix, op)
	case g.isOperationShape(r.Shape):
		return g.writeStruct(body, op+suffix, r.Shape)
	}
	fmt.Fprintf(body, "type %s%s = %s\n\n", op, suffix, g.goNames[r.Shape])
	return g.declare(op+suffix, op)
}

// writeOperation writes one row of the table.
func (g *generator) writeOperation(body *bytes.Buffer, name string) {
	op := g.model.Operations[name]
	var in shape
	if op.Input != nil {
		in = g.model.Shapes[op.Input.Shape]
	}
	fmt.Fprintf(body, "{Name: %q,\nNewInput: func() any { return new(%sInput) },\nNewOutput: func() any { return new(%sOutput) },\n", name, name, name)
	if _, ok := in.Members["DryRun"]; ok {
		body.WriteString("DryRun: true,\n")
	}
	if g.paginated(op) {
		body.WriteString("Paginated: true,\n")
	}
	var tokens []string
	for _, member := range slices.Sorted(maps.Keys(in.Members)) {
		// The model marks only some of the tokens; a ClientToken is always one.
		if in.Members[member].IdempotencyToken || member == "ClientToken" {
			tokens = append(tokens, member)
		}
	}
	if tokens != nil {
		fmt.Fprintf(body, "IdempotencyTokens: %#v,\n", tokens)
	}
	body.WriteString("},\n")
}

// paginated reports whether the operation answers in pages: it takes a token
// and a limit, and returns a token.
func (g *generator) paginated(op operation) bool { return g.pageToken(op, "NextToken", "MaxResults") }

func (g *generator) pageToken(op operation, name, size string) bool {
	if op.Input == nil || op.Output == nil {
		return false
	}
	in, out := g.model.Shapes[op.Input.Shape].Members, g.model.Shapes[op.Output.Shape].Members
	_, token := in[name]
	_, limit := in[size]
	_, next := out[name]
	return token && limit && next
}

func (g *generator) writeStruct(body *bytes.Buffer, goName, shapeName string) error {
	if err := g.declare(goName, "structure "+shapeName); err != nil {
		return err
	}
	s := g.model.Shapes[shapeName]
	fmt.Fprintf(body, "type %s struct {\n", goName)
	for _, member := range slices.Sorted(maps.Keys(s.Members)) {
		goType, err := g.goType(s.Members[member].Shape, true)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", shapeName, member, err)
		}
		fmt.Fprintf(body, "%s %s `%s`\n", upperFirst(member), goType, g.tag(shapeName, member))
	}
	body.WriteString("}\n\n")
	return nil
}

// goType returns the Go type of a shape: scalars and structures are pointers as
// members, so that absence can be told from a zero value; list items are values.
func (g *generator) goType(shapeName string, member bool) (string, error) {
	star := ""
	if member {
		star = "*"
	}
	s := g.model.Shapes[shapeName]
	switch s.Type {
	case "string":
		return star + "string", nil
	case "integer":
		return star + "int32", nil
	case "long":
		return star + "int64", nil
	case "boolean":
		return star + "bool", nil
	case "float", "double":
		return star + "float64", nil
	case "timestamp":
		return star + "time.Time", nil
	case "blob":
		return "[]byte", nil
	case "structure":
		return star + g.goNames[shapeName], nil
	case "list":
		item, err := g.goType(s.Member.Shape, false)
		return "[]" + item, err
	case "map":
		value, err := g.goType(s.Value.Shape, false)
		return "map[string]" + value, err
	}
	return "", fmt.Errorf("shape %s has type %q, which the generator does not know", shapeName, s.Type)
}

// tag returns a member's struct tag; package ec2types documents the keys.
func (g *generator) tag(shapeName, member string) string {
	parent := g.model.Shapes[shapeName]
	r := parent.Members[member]
	s := g.model.Shapes[r.Shape]
	absent := "omitempty"
	if s.Type == "list" || s.Type == "blob" || s.Type == "map" {
		absent = "omitzero" // an empty list is not an absent one
	}
	tags := []string{fmt.Sprintf(`json:"%s,%s"`, member, absent)}
	add := func(key, value string) { tags = append(tags, fmt.Sprintf("%s:%q", key, value)) }
	if g.inputs[shapeName] {
		add("query", g.queryName(member, r, s))
		if slices.Contains(parent.Required, member) {
			add("required", "true")
		}
	}
	if g.outputs[shapeName] {
		name := cmp.Or(r.LocationName, member)
		switch s.Type {
		case "list":
			name += ">" + cmp.Or(s.Member.LocationName, g.service.item)
		case "map":
			name += ">entry"
		}
		add("xml", name+",omitempty")
	}
	for s.Type == "list" { // what follows is about the values, not about the list
		s = g.model.Shapes[s.Member.Shape]
		if s.Type == "structure" {
			return strings.Join(tags, " ")
		}
	}
	return strings.Join(append(tags, valueTags(s, g.enumName(r.Shape))...), " ")
}

// queryName is a member's name in a Query request. EC2 writes names upper case
// and lists flat; of the other services each item is in an element "member".
func (g *generator) queryName(member string, r ref, s shape) string {
	if g.service.name == "ec2" {
		return cmp.Or(r.QueryName, upperFirst(r.LocationName), member)
	}
	name := cmp.Or(r.LocationName, member)
	if s.Type == "list" && !s.Flattened {
		name += "." + cmp.Or(s.Member.LocationName, g.service.item)
	}
	return name
}

// valueTags are the tags about which values a member takes.
func valueTags(s shape, enum string) []string {
	var tags []string
	if enum != "" {
		tags = append(tags, fmt.Sprintf("enum:%q", enum))
	}
	if s.Type == "integer" || s.Type == "long" {
		if s.Min != nil {
			tags = append(tags, fmt.Sprintf(`min:"%d"`, int64(*s.Min)))
		}
		if s.Max != nil {
			tags = append(tags, fmt.Sprintf(`max:"%d"`, int64(*s.Max)))
		}
	}
	if s.Sensitive {
		tags = append(tags, `sensitive:"true"`)
	}
	return tags
}

// enumName returns the name of the enum that the shape, or its list items, are of.
func (g *generator) enumName(shapeName string) string {
	s := g.model.Shapes[shapeName]
	switch {
	case s.Member != nil:
		return g.enumName(s.Member.Shape)
	case len(s.Enum) > 0:
		return shapeName
	}
	return ""
}

// enumsFile has a constant for every value of every enum, and the lists of values.
func (g *generator) enumsFile() ([]byte, error) {
	var body, table bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(g.model.Shapes)) {
		values := g.model.Shapes[name].Enum
		if len(values) == 0 {
			continue
		}
		fmt.Fprintf(&body, "// The values of %s.\nconst (\n", upperFirst(name))
		fmt.Fprintf(&table, "%q: {", name)
		for i, v := range values {
			constant := upperFirst(name) + camel(v)
			if err := g.declare(constant, fmt.Sprintf("%s value %q", name, v)); err != nil {
				return nil, err
			}
			fmt.Fprintf(&body, "%s = %q\n", constant, v)
			if i > 0 {
				table.WriteString(", ")
			}
			table.WriteString(constant)
		}
		body.WriteString(")\n\n")
		table.WriteString("},\n")
	}
	fmt.Fprintf(&body, "var enums = map[string][]string{\n%s}\n", table.Bytes())
	return g.file(g.service.pkg(), body.Bytes())
}

// clientFile has one method of the Go client per operation, and one iterator per
// operation that answers in pages.
func (g *generator) clientFile() ([]byte, error) {
	var body bytes.Buffer
	imports := []string{"context", "", "github.com/bundt/bundt/pkg/api/" + g.service.pkg()}
	for _, name := range g.sortedOps() {
		fmt.Fprintf(&body, `// %[1]s calls the %[3]s action of that name.
// %[2]s%[1]s.html
func (c *Client) %[1]s(ctx context.Context, in *%[4]s.%[1]sInput) (*%[4]s.%[1]sOutput, error) {
return call[%[4]s.%[1]sOutput](ctx, c, %[1]q, in)
}

`, name, g.service.reference, g.service.title, g.service.pkg())
		token := ""
		switch op := g.model.Operations[name]; {
		case g.paginated(op):
			token = "NextToken"
		case g.pageToken(op, "Marker", "MaxItems"): // IAM's words
			token = "Marker"
		default:
			continue
		}
		imports[1] = "iter"
		fmt.Fprintf(&body, `// %[1]sPages calls %[1]s for one page after another, until the last or an error.
func (c *Client) %[1]sPages(ctx context.Context, in *%[2]s.%[1]sInput) iter.Seq2[*%[2]s.%[1]sOutput, error] {
return func(yield func(*%[2]s.%[1]sOutput, error) bool) {
var page %[2]s.%[1]sInput
if in != nil {
page = *in
}
for {
out, err := c.%[1]s(ctx, &page)
if !yield(out, err) || err != nil || out.%[3]s == nil {
return
}
page.%[3]s = out.%[3]s
}
}
}

`, name, g.service.pkg(), token)
	}
	if imports[1] == "iter" {
		imports = slices.Insert(imports, 2, "")
	}
	return g.file("client", body.Bytes(), imports...)
}

// file returns a formatted Go file.
func (g *generator) file(pkg string, body []byte, imports ...string) ([]byte, error) {
	var f bytes.Buffer
	fmt.Fprintf(&f, "// Code generated by ec2gen from the %s API model (Apache-2.0); DO NOT EDIT.\n\n", g.service.title)
	fmt.Fprintf(&f, "package %s\n\n", pkg)
	if bytes.Contains(body, []byte("time.Time")) {
		if len(imports) > 0 {
			imports = append([]string{"time", ""}, imports...)
		} else {
			imports = []string{"time"}
		}
	}
	if len(imports) > 0 {
		f.WriteString("import (\n")
		for _, path := range imports {
			if path != "" {
				path = strconv.Quote(path)
			}
			f.WriteString(path + "\n")
		}
		f.WriteString(")\n\n")
	}
	f.Write(body)
	src, err := format.Source(f.Bytes())
	if err != nil {
		return nil, fmt.Errorf("formatting: %w", err)
	}
	return src, nil
}

func upperFirst(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// camel turns an enum's value into the end of an identifier: "shutting-down" is ShuttingDown.
func camel(value string) string {
	var b strings.Builder
	upper := true
	for _, r := range value {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			upper = true
		case upper:
			b.WriteRune(unicode.ToUpper(r))
			upper = false
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
