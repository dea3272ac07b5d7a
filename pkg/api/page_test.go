package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bundt/bundt/pkg/model"
)

func self(s string) string { return s }

// TestPagesAreStableUnderChange pages through objects that come and go: those
// that stay are seen exactly once, and nothing is seen twice.
func TestPagesAreStableUnderChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("i-%04d", rapid.IntRange(0, 500).Draw(t, "n")) })
		objects := rapid.SliceOfNDistinct(key, 0, 60, self).Draw(t, "objects")
		stay := slices.Clone(objects)
		pager := NewPager([]byte("secret"))
		seen := map[string]int{}
		var token *string
		for {
			size := rapid.Int32Range(5, 20).Draw(t, "size")
			page, next, err := Paginate(pager, PageRequest{Action: "A", NextToken: token, MaxResults: &size, Query: "q", Min: 5, Max: 20}, objects, self)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) > int(size) || (next != nil && len(page) < int(size)) {
				t.Fatalf("page of %d, size %d, next %v", len(page), size, next)
			}
			for _, o := range page {
				seen[o]++
			}
			if next == nil {
				break
			}
			token = next
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				if len(objects) > 0 && rapid.Bool().Draw(t, "remove") {
					gone := rapid.IntRange(0, len(objects)-1).Draw(t, "gone")
					stay = slices.DeleteFunc(stay, func(o string) bool { return o == objects[gone] })
					objects = slices.Delete(slices.Clone(objects), gone, gone+1)
				} else if o := key.Draw(t, "new"); !slices.Contains(objects, o) && seen[o] == 0 {
					objects = append(slices.Clone(objects), o)
				}
			}
		}
		for o, n := range seen {
			if n > 1 {
				t.Errorf("%s was seen %d times", o, n)
			}
		}
		for _, o := range stay {
			if seen[o] != 1 {
				t.Errorf("%s stayed and was seen %d times", o, seen[o])
			}
		}
	})
}

func TestTokensAreForOneQuery(t *testing.T) {
	objects := []string{"c", "a", "b", "d", "e", "f"}
	pager := NewPager([]byte("secret"))
	req := PageRequest{Action: "A", MaxResults: new(int32(5)), Query: map[string]any{"Filters": "x"}, Min: 5, Max: 10}
	page, token, err := Paginate(pager, req, objects, self)
	if err != nil || token == nil || strings.Join(page, "") != "abcde" {
		t.Fatalf("page %v, token %v, %v", page, token, err)
	}
	if objects[0] != "c" {
		t.Error("the caller's slice was sorted")
	}
	req.NextToken = token
	if page, next, err := Paginate(NewPager([]byte("secret")), req, objects, self); err != nil || next != nil || strings.Join(page, "") != "f" {
		t.Errorf("page after a restart: %v %v %v", page, next, err)
	}
	flipped := []byte(*token)
	flipped[3] ^= 1
	for name, try := range map[string]struct {
		pager *Pager
		req   PageRequest
	}{
		"other filters": {pager, PageRequest{Action: "A", NextToken: token, Query: "y", Min: 5, Max: 10}},
		"other action":  {pager, PageRequest{Action: "B", NextToken: token, Query: req.Query, Min: 5, Max: 10}},
		"other key":     {NewPager([]byte("guess")), req},
		"forged":        {pager, PageRequest{Action: "A", NextToken: new(string(flipped)), Query: req.Query, Min: 5, Max: 10}},
		"short":         {pager, PageRequest{Action: "A", NextToken: new("AAAA"), Query: req.Query, Min: 5, Max: 10}},
		"garbage":       {pager, PageRequest{Action: "A", NextToken: new("%%%"), Query: req.Query, Min: 5, Max: 10}},
	} {
		if _, _, err := Paginate(try.pager, try.req, objects, self); model.CodeOf(err) != model.CodeInvalidNextToken {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPageSizes(t *testing.T) {
	pager := NewPager(nil)
	for n, ok := range map[int32]bool{4: false, 5: true, 10: true, 11: false, -1: false} {
		_, _, err := Paginate(pager, PageRequest{MaxResults: &n, Min: 5, Max: 10}, []string{"a"}, self)
		if (err == nil) != ok {
			t.Errorf("MaxResults %d: %v", n, err)
		}
	}
	all := make([]string, 100)
	for i := range all {
		all[i] = fmt.Sprintf("%03d", i)
	}
	page, next, err := Paginate(pager, PageRequest{Min: 5, Max: 10}, all, self)
	if err != nil || next != nil || len(page) != 100 {
		t.Errorf("without a size: %d, %v, %v", len(page), next, err)
	}
}

func TestTagsAreSorted(t *testing.T) {
	got := Tags(model.Tags{"b": "2", "a": "1", "c": ""})
	var s []string
	for _, tag := range got {
		s = append(s, *tag.Key+"="+*tag.Value)
	}
	if strings.Join(s, " ") != "a=1 b=2 c=" {
		t.Errorf("tags %v", s)
	}
}
