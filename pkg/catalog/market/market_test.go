package market_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bundt/bundt/pkg/catalog/market"
	"github.com/bundt/bundt/pkg/catalog/signature"
	"github.com/bundt/bundt/pkg/model"
)

const source = `
publisher: The Bakery
products:
  - id: web
    title: Web server
    price: 5 EUR a month, on invoice
    terms: |
      Use it well.
    website: https://bakery.example.com/
    versions:
      - {version: "2.0", image: "registry.example.com/web:2", released: 2026-11-01}
      - {version: "1.0", image: "registry.example.com/web:1", released: 2026-10-01, notes: The first.}
`

func find(ref string) (market.Found, error) {
	return market.Found{Image: strings.Replace(ref, ":", "@sha256:"+strings.Repeat("a", 64)+"#", 1)[:len("registry.example.com/web@sha256:")+64], Architecture: model.X8664, SizeGiB: 8}, nil
}

func index(t testing.TB) *market.Index {
	t.Helper()
	s, err := market.ParseSource([]byte(source))
	if err != nil {
		t.Fatal(err)
	}
	i, err := s.Index(7, find)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestSignAndOpen(t *testing.T) {
	key, err1 := signature.NewKey()
	other, err2 := signature.NewKey()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	want := index(t)
	file, err := market.Sign(key, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := market.Open(file, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := market.Open(file, other.Public()); !errors.Is(err, signature.ErrUntrusted) {
		t.Errorf("by another key: %v", err)
	}
	statement, err := signature.NewStatement("x", "sha256:"+strings.Repeat("0", 64), signature.Signed, want)
	if err != nil {
		t.Fatal(err)
	}
	image, err := key.Sign(statement)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := market.Open(image, key.Public()); !errors.Is(err, market.ErrInvalid) {
		t.Errorf("the signature of an image: %v", err)
	}
}

func TestCodes(t *testing.T) {
	a, b := market.Code("key", "web"), market.Code("other", "web")
	if len(a) != 25 || a == b || a != market.Code("key", "web") || a == market.Code("key", "db") {
		t.Errorf("%s, %s", a, b)
	}
	p := index(t).Products[0]
	before := p.TermsDigest()
	if p.Price = "6 EUR"; p.TermsDigest() == before {
		t.Error("another price is no other terms")
	}
}

func TestBadSources(t *testing.T) {
	for what, change := range map[string][2]string{
		"line 6: field cost not found": {"price:", "cost:"},
		"no terms to accept":           {"Use it well.\n", "\n"},
		"web is there twice":           {"  - id: web", "  - {id: web, title: a, terms: b, versions: [{version: '1', image: 'registry.example.com/web:1', released: 2026-10-01}]}\n  - id: web"},
		"twice":                        {`"2.0"`, `"1.0"`},
		"the product id":               {"id: web", "id: ../web"},
		"by https":                     {"https://bakery", "javascript:alert(1)//"},
		"its kind":                     {"publisher:", "kind: shop\npublisher:"},
		"has terms or a price":         {"publisher:", "kind: community\npublisher:"},
		"publisher's name":             {"The Bakery", `""`},
		"no date":                      {", released: 2026-11-01", ""},
		"letters, digits":              {`"2.0"`, `"2 0"`},
		"more than one document":       {"publisher:", "publisher: x\n---\npublisher:"},
		"cannot unmarshal":             {"products:", "products: x\nothers:"},
	} {
		s, err := market.ParseSource([]byte(strings.Replace(source, change[0], change[1], 1)))
		if err == nil {
			_, err = s.Index(1, find)
		}
		if !errors.Is(err, market.ErrInvalid) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s, err := market.ParseSource([]byte(source))
	if err != nil {
		t.Fatal(err)
	}
	none := errors.New("not there")
	if _, err := s.Index(1, func(string) (market.Found, error) { return market.Found{}, none }); !errors.Is(err, none) || !strings.Contains(err.Error(), "product web, version 2.0") {
		t.Errorf("without an image: %v", err)
	}
}

func TestHostileIndexes(t *testing.T) {
	good, err := json.Marshal(index(t))
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string][2]string{
		"a newer version":      {`"schema":1`, `"schema":2`},
		"a negative serial":    {`"serial":7`, `"serial":-7`},
		"something unknown":    {`"serial":7`, `"serial":7,"geofence":"DE"`},
		"an image by tag":      {`@sha256:` + strings.Repeat("a", 64), ":latest"},
		"an unknown CPU":       {`"x86_64"`, `"vax"`},
		"no products at all":   {`"products":[`, `"products":3,"x":[`},
		"a disk without size":  {`"sizeGiB":8`, `"sizeGiB":0`},
		"a long title":         {`"Web server"`, `"` + strings.Repeat("x", 200) + `"`},
		"a publisher too long": {`"The Bakery"`, `"` + strings.Repeat("x", 200) + `"`},
	} {
		if _, err := market.Decode([]byte(strings.Replace(string(good), change[0], change[1], 1))); !errors.Is(err, market.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	good, err := json.Marshal(index(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"schema":1,"products":[{}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := market.Decode(body); err != nil && !errors.Is(err, market.ErrInvalid) {
			t.Error(err)
		}
	})
}

func FuzzParseSource(f *testing.F) {
	f.Add([]byte(source))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := market.ParseSource(text); err != nil && !errors.Is(err, market.ErrInvalid) {
			t.Error(err)
		}
	})
}
