package console

import (
	"context"
	"net/http"
	"strings"

	"github.com/bundt/bundt/pkg/api/ec2types"
)

func (c *Console) keyRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"key-pairs", c.page(keyList))
	mux.HandleFunc("POST "+Path+"key-pairs/create", c.do(createKey))
	mux.HandleFunc("POST "+Path+"key-pairs/import", c.do(importKey))
	mux.HandleFunc("POST "+Path+"key-pairs/delete", c.do(deleteKeys))
}

func keyList(ctx context.Context, r *request) (*view, error) {
	out, err := call[ec2types.DescribeKeyPairsOutput](ctx, r, "DescribeKeyPairs", &ec2types.DescribeKeyPairsInput{})
	if err != nil {
		return nil, err
	}
	t := table{
		ID: "keys", Title: "Key pairs", Help: "A key pair lets you log in. The private half is yours alone: it is shown once, when it is made.",
		Columns: []column{{Title: "Name"}, {Title: "Type"}, {Title: "Fingerprint", Wide: true}, {Title: "Made", Wide: true}},
		Choose:  []button{{Text: "Delete", Action: Path + "key-pairs/delete", Danger: "Instances that have the key keep it."}},
		Forms: []form{
			{Title: "Create key pair", Action: Path + "key-pairs/create", Submit: "Create and download", Help: "The private key is downloaded now, and cannot be had again.", Fields: []field{{Name: "name", Label: "Name", Required: true}, keyTypeField}},
			{Title: "Import public key", Action: Path + "key-pairs/import", Submit: "Import", Fields: []field{{Name: "name", Label: "Name", Required: true}, {Name: "key", Label: "Public key", Type: "textarea", Required: true, Help: "as in ~/.ssh/id_ed25519.pub"}}},
		},
		Empty: "No key pairs yet. Without one nobody can log in to most images.",
	}
	for _, k := range out.KeyPairs {
		t.Rows = append(t.Rows, row{ID: ec2types.Value(k.KeyName), Cells: []cell{text(k.KeyName), text(k.KeyType), code(k.KeyFingerprint), when(k.CreateTime)}})
	}
	return &view{Title: "Key pairs", Section: "key-pairs", Template: "table", Main: t}, nil
}

var keyTypeField = field{Name: "type", Label: "Type", Type: "select", Options: []option{{Value: "ed25519", Text: "ED25519"}, {Value: "rsa", Text: "RSA, for old clients"}}}

func createKey(ctx context.Context, r *request) (next, done string, err error) {
	out, err := call[ec2types.CreateKeyPairOutput](ctx, r, "CreateKeyPair", &ec2types.CreateKeyPairInput{KeyName: filled(r.FormValue("name")), KeyType: filled(r.FormValue("type"))})
	if err != nil {
		return "", "", err
	}
	return "", "", &download{name: fileName(ec2types.Value(out.KeyName)) + ".pem", content: []byte(ec2types.Value(out.KeyMaterial))}
}

// fileName is a name without what file systems or shells take for something else.
func fileName(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.", c) {
			return c
		}
		return '_'
	}, s)
}

func importKey(ctx context.Context, r *request) (next, done string, err error) {
	key := []byte(strings.TrimSpace(r.FormValue("key")))
	return back(r), "", act(ctx, r, "ImportKeyPair", &ec2types.ImportKeyPairInput{KeyName: filled(r.FormValue("name")), PublicKeyMaterial: key})
}

func deleteKeys(ctx context.Context, r *request) (next, done string, err error) {
	names := r.Form["id"]
	if len(names) == 0 {
		return "", "", missing("which keys: choose some in the table")
	}
	for _, name := range names {
		if err := act(ctx, r, "DeleteKeyPair", &ec2types.DeleteKeyPairInput{KeyName: &name}); err != nil {
			return "", "", err
		}
	}
	return back(r), "Deleted " + strings.Join(names, ", "), nil
}
