package console

import (
	"context"
	"encoding/csv"
	"net/http"
	"net/url"
	"strings"
)

// A list is a file instead of a page with this parameter in its address.
const (
	exportParameter = "as"
	exportCSV       = "csv"
)

// listed is the table that a page is about, nil if there is none.
func (v *view) listed() *table {
	switch main := v.Main.(type) {
	case table:
		return &main
	case *gallery:
		return main.Table
	}
	return nil
}

// withExport has the table that a page is about lead to itself as a file.
func withExport(f pageFunc) pageFunc {
	return func(ctx context.Context, r *request) (*view, error) {
		v, err := f(ctx, r)
		if err != nil || v.listed() == nil {
			return v, err
		}
		q := r.URL.Query()
		q.Set(exportParameter, exportCSV)
		q.Del("next") // all of the pages
		t := v.listed()
		t.Export = r.URL.Path + "?" + q.Encode()
		if _, ok := v.Main.(table); ok {
			v.Main = *t
		}
		return v, nil
	}
}

// export sends all pages of a list, of which v is the first.
func (c *Console) export(w http.ResponseWriter, r *request, f pageFunc, v *view) {
	t := v.listed()
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+t.ID+`.csv"`)
	out := csv.NewWriter(w)
	var head []string
	for _, col := range t.Columns {
		head = append(head, col.Title)
	}
	_ = out.Write(head) // its error is Flush's
	for {
		for _, row := range t.Rows {
			var record []string
			for _, cell := range row.Cells {
				record = append(record, inert(cell.plain()))
			}
			_ = out.Write(record)
		}
		if out.Flush(); out.Error() != nil {
			return // the browser is gone
		}
		if t.Next == "" {
			return
		}
		next, err := url.Parse(t.Next)
		if err == nil {
			r.URL = next
			v, err = f(r.Context(), r)
		}
		if err != nil {
			// Half a list must not look like a whole one.
			c.options.Log.Error("exporting a list", "list", t.ID, "error", err)
			panic(http.ErrAbortHandler)
		}
		t = v.listed()
	}
}

// plain is a cell's text.
func (c cell) plain() string {
	if len(c.More) == 0 {
		return c.Text
	}
	var all []string
	for _, m := range c.More {
		all = append(all, m.plain())
	}
	return strings.Join(all, " ")
}

// inert is a text that no spreadsheet takes for a formula.
func inert(s string) string {
	if s != "" && strings.ContainsAny(s[:1], "=+-@\t\r") {
		return "'" + s
	}
	return s
}
