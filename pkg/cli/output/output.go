// Package output owns how data is printed: tables for people, JSON, YAML and
// names for programs, and JMESPath queries. It may import pkg/cli/iostreams and
// pkg/cli/failure only.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/jmespath-community/go-jmespath"
	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/cli/failure"
	"github.com/bundt/bundt/pkg/cli/iostreams"
)

// The formats of -o.
const (
	Table = "table"
	Wide  = "wide"
	JSON  = "json"
	YAML  = "yaml"
	Name  = "name"
)

var formats = []string{Table, Wide, JSON, YAML, Name}

// Options are what a user chose by -o and --query.
type Options struct {
	Format string
	Query  string

	query     jmespath.JMESPath
	formatSet bool
}

// AddFlags gives cmd the flags -o and --query, and checks their values before it runs.
func (o *Options) AddFlags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.Format, "output", "o", Table, "`format`: "+strings.Join(formats, ", "))
	cmd.Flags().StringVar(&o.Query, "query", "", "JMESPath `expression` applied to what -o json prints")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("query", cobra.NoFileCompletions)
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if before != nil {
			if err := before(cmd, args); err != nil {
				return err
			}
		}
		o.formatSet = cmd.Flags().Changed("output")
		return o.check()
	}
}

func (o *Options) check() error {
	known := false
	for _, f := range formats {
		known = known || f == o.Format
	}
	if !known {
		return failure.Usagef("output format %q is none of %s", o.Format, strings.Join(formats, ", "))
	}
	if o.Query == "" {
		return nil
	}
	if o.Format == Name || o.formatSet && (o.Format == Table || o.Format == Wide) {
		return failure.Usagef("--query gives data that -o %s cannot show; use -o json, -o yaml or neither", o.Format)
	}
	q, err := jmespath.Compile(o.Query)
	if err != nil {
		return failure.Usagef("--query is not JMESPath: %w", err)
	}
	o.query = q
	return nil
}

// ForPeople reports whether the output is a table.
func (o *Options) ForPeople() bool { return o.query == nil && (o.Format == Table || o.Format == Wide) }

// Column is one column of a table of items T.
type Column[T any] struct {
	Title string
	Wide  bool // shown by -o wide only
	Text  func(T) string
	Style func(T) iostreams.Style // optional
}

// List prints items as the user chose. name gives what -o name prints of an item: its id.
func List[T any](s *iostreams.IOStreams, o *Options, items []T, name func(T) string, columns []Column[T]) error {
	switch {
	case o.ForPeople():
		return writeTable(s, o.Format == Wide, items, columns)
	case o.Format == Name:
		for _, item := range items {
			if _, err := fmt.Fprintln(s.Out, name(item)); err != nil {
				return fmt.Errorf("writing output: %w", err)
			}
		}
		return nil
	}
	if items == nil {
		items = []T{}
	}
	return Data(s, o, items)
}

// Data prints v as JSON or YAML, or what the query makes of it.
func Data(s *iostreams.IOStreams, o *Options, v any) error {
	b, err := encode(v)
	if err != nil {
		return err
	}
	if o.query != nil {
		var generic any
		if err := json.Unmarshal(b, &generic); err != nil {
			return fmt.Errorf("reading own output: %w", err)
		}
		found, err := o.query.Search(generic)
		if err != nil {
			return failure.Usagef("--query does not fit the output: %w", err)
		}
		if !o.formatSet {
			if text, ok := plain(found); ok {
				_, err := io.WriteString(s.Out, text)
				return err
			}
		}
		if b, err = encode(found); err != nil {
			return err
		}
	}
	if o.Format == YAML {
		if b, err = yaml.JSONToYAML(b); err != nil {
			return fmt.Errorf("writing YAML: %w", err)
		}
	}
	_, err = s.Out.Write(b)
	return err
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("writing JSON: %w", err)
	}
	return b.Bytes(), nil
}

// plain is a query's result as bare lines, if it is a scalar or a list of them.
func plain(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v + "\n", true
	case bool, float64, int:
		return fmt.Sprint(v) + "\n", true
	case []any:
		var b strings.Builder
		for _, item := range v {
			if _, nested := item.([]any); nested {
				return "", false
			}
			text, ok := plain(item)
			if !ok {
				return "", false
			}
			b.WriteString(text)
		}
		return b.String(), true
	}
	return "", false
}

type cell struct {
	text  string
	style iostreams.Style
}

func writeTable[T any](s *iostreams.IOStreams, wide bool, items []T, columns []Column[T]) error {
	var header []cell
	for _, c := range columns {
		if wide || !c.Wide {
			header = append(header, cell{c.Title, iostreams.Bold})
		}
	}
	rows := [][]cell{header}
	for _, item := range items {
		var row []cell
		for _, c := range columns {
			if !wide && c.Wide {
				continue
			}
			text := cell{text: Clean(c.Text(item))}
			if text.text == "" {
				text.text = "-"
			} else if c.Style != nil {
				text.style = c.Style(item)
			}
			row = append(row, text)
		}
		rows = append(rows, row)
	}
	return align(s, rows)
}

func align(s *iostreams.IOStreams, rows [][]cell) error {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], len([]rune(c.text)))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, c := range row {
			b.WriteString(s.OnOut(c.style, c.text))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-len([]rune(c.text))+2))
			}
		}
		b.WriteByte('\n')
	}
	if _, err := io.WriteString(s.Out, b.String()); err != nil {
		return fmt.Errorf("writing output: %w", err)
	}
	return nil
}

// Clean replaces control characters, so that text that others wrote (names, tags)
// cannot steer a terminal or break a table.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return '�'
		}
		return r
	}, text)
}

// Age is how long ago then was, as people say it: 5s, 3m, 2h, 4d.
func Age(now, then time.Time) string {
	if then.IsZero() {
		return ""
	}
	d := max(now.Sub(then), 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// ParseTime reads a time as EC2 writes it into strings; zero if it is none.
func ParseTime(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// One prints a single object: as YAML, for people, unless the user chose otherwise.
func One(s *iostreams.IOStreams, o *Options, id string, v any) error {
	switch {
	case o.Format == Name:
		_, err := fmt.Fprintln(s.Out, id)
		return err
	case o.ForPeople():
		return Data(s, &Options{Format: YAML}, v)
	}
	return Data(s, o, v)
}
