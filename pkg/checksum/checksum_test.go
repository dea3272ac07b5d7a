package checksum

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

var (
	a256 = strings.Repeat("a1", 32)
	b256 = strings.Repeat("b2", 32)
	c512 = strings.Repeat("c3", 64)
)

func TestFind(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want Digest
		err  error
	}{
		"GNU, binary":               {b256 + " *other.img\n" + a256 + " *disk.img\n", Digest("sha256:" + a256), nil},
		"GNU, text, 512":            {c512 + "  disk.img\n", Digest("sha512:" + c512), nil},
		"GNU, with a directory":     {a256 + "  ./disk.img\n", Digest("sha256:" + a256), nil},
		"GNU, capitals and CR":      {strings.ToUpper(a256) + "  disk.img\r\n", Digest("sha256:" + a256), nil},
		"BSD":                       {"# disk.img: 5 bytes\nSHA256 (disk.img) = " + a256 + "\nSHA256 (x.img) = " + b256 + "\n", Digest("sha256:" + a256), nil},
		"the strongest":             {"MD5 (disk.img) = 00\nSHA512 (disk.img) = " + c512 + "\nSHA256 (disk.img) = " + a256 + "\n", Digest("sha512:" + c512), nil},
		"twice the same":            {a256 + "  disk.img\n" + a256 + " *disk.img\n", Digest("sha256:" + a256), nil},
		"a digest alone":            {c512 + "\n", Digest("sha512:" + c512), nil},
		"no such name":              {a256 + "  disk.img.manifest\n" + a256 + "  old-disk.img\n", "", ErrNotListed},
		"in another directory":      {a256 + "  daily/disk.img\n", "", ErrNotListed},
		"two digests alone":         {a256 + "\n" + b256 + "\n", "", ErrNotListed},
		"a digest alone and a name": {a256 + "\n" + b256 + "  other.img\n", "", ErrNotListed},
		"an answer of a portal":     {"<html>\n" + a256 + "\n</html>\n", "", ErrNotListed},
		"too weak":                  {"MD5 (disk.img) = d41d8cd98f00b204e9800998ecf8427e\nd41d8cd98f00b204e9800998ecf8427e  disk.img\n", "", ErrNotListed},
		"cut short":                 {"SHA256 (disk.img) = " + a256[:62] + "\n", "", ErrNotListed},
		"two different":             {a256 + "  disk.img\n" + b256 + "  disk.img\n", "", ErrAmbiguous},
		"empty":                     {"", "", ErrNotListed},
	} {
		got, err := Find([]byte(test.text), "disk.img")
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: %q, %v; want %q, %v", name, got, err, test.want, test.err)
		}
	}
}

func TestDigest(t *testing.T) {
	const hello = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	for _, s := range []string{hello, "sha512:" + c512} {
		if d, err := Parse(s); err != nil || string(d) != s {
			t.Errorf("%s: %v, %v", s, d, err)
		}
	}
	for _, s := range []string{"", "sha256:", a256, "sha256:" + c512, "sha512:" + a256, "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:" + strings.Repeat("g", 64), "sha256:" + strings.ToUpper(a256)} {
		if _, err := Parse(s); err == nil {
			t.Errorf("%q is taken for a digest", s)
		}
	}
	if got, err := Digest(hello).Of(strings.NewReader("hello")); err != nil || got != hello {
		t.Errorf("of hello: %s, %v", got, err)
	}
}

// entity makes a key at a time, which expires after that many seconds, if not 0.
func entity(t *testing.T, made time.Time, seconds uint32) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity("Images", "", "images@example.org", &packet.Config{Time: func() time.Time { return made }, KeyLifetimeSecs: seconds, Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func public(t *testing.T, ascii bool, entities ...*openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, e := range entities {
		if err := e.Serialize(&out); err != nil {
			t.Fatal(err)
		}
	}
	if !ascii {
		return out.Bytes()
	}
	var text bytes.Buffer
	w, err := armor.Encode(&text, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

func TestSignatures(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	made := now.AddDate(-1, 0, 0)
	good, other, expired := entity(t, made, 0), entity(t, made, 0), entity(t, made, 3600)
	text := []byte(a256 + " *disk.img\n")
	changed := []byte(b256 + " *disk.img\n")
	keys := func(es ...*openpgp.Entity) *Keys {
		t.Helper()
		var prints []string
		for _, e := range es {
			prints = append(prints, fingerprint(e))
		}
		k, err := ReadKeys(public(t, len(es) > 1, good, other, expired), prints)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	sign := func(e *openpgp.Entity, ascii bool, hash crypto.Hash, at time.Time) []byte {
		t.Helper()
		var out bytes.Buffer
		do := openpgp.DetachSign
		if ascii {
			do = openpgp.ArmoredDetachSign
		}
		if err := do(&out, e, bytes.NewReader(text), &packet.Config{DefaultHash: hash, Time: func() time.Time { return at }}); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	early := made.Add(time.Minute)
	for name, test := range map[string]struct {
		keys      *Keys
		text, sig []byte
		signer    *openpgp.Entity
		want      string // in the error
	}{
		"in ASCII":                {keys(good), text, sign(good, true, crypto.SHA512, early), good, ""},
		"binary":                  {keys(good), text, sign(good, false, crypto.SHA256, early), good, ""},
		"one of several keys":     {keys(other, good), text, sign(good, true, crypto.SHA512, early), good, ""},
		"two, one of them known":  {keys(good), text, append(sign(other, false, crypto.SHA512, early), sign(good, false, crypto.SHA512, early)...), good, ""},
		"another text":            {keys(good), changed, sign(good, true, crypto.SHA512, early), nil, ErrSignature.Error()},
		"another key":             {keys(good), text, sign(other, true, crypto.SHA512, early), nil, "none of the keys " + fingerprint(good)},
		"an expired key":          {keys(expired), text, sign(expired, true, crypto.SHA512, early), nil, "key expired"},
		"of tomorrow's tomorrow":  {keys(good), text, sign(good, true, crypto.SHA512, now.AddDate(0, 0, 2)), nil, "this host's clock says 2026-06-01"},
		"a page of an error":      {keys(good), text, []byte("<html>404</html>"), nil, ErrSignature.Error()},
		"nothing":                 {keys(good), text, nil, nil, ErrSignature.Error()},
		"a key as the signature":  {keys(good), text, public(t, true, good), nil, "is no signature"},
		"a broken ASCII armour":   {keys(good), text, []byte(armored + " SIGNATURE-----\n\nnothing"), nil, ErrSignature.Error()},
		"the text for itself":     {keys(good), text, text, nil, ErrSignature.Error()},
		"an expired one's latter": {keys(expired), text, sign(good, true, crypto.SHA512, early), nil, "none of the keys"},
	} {
		signer, err := test.keys.Detached(test.text, test.sig, now)
		if test.want == "" && (err != nil || signer != fingerprint(test.signer)) || test.want != "" && (!errors.Is(err, ErrSignature) || !strings.Contains(err.Error(), test.want) || signer != "") {
			t.Errorf("%s: %q, %v; want %q", name, signer, err, test.want)
		}
	}

	clear := func(e *openpgp.Entity) []byte {
		t.Helper()
		var out bytes.Buffer
		w, err := clearsign.Encode(&out, e.PrivateKey, &packet.Config{Time: func() time.Time { return early }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	around := append(append([]byte("SHA256 (disk.img) = "+b256+"\n"), clear(good)...), "\n"+string(changed)...)
	got, signer, err := keys(good).Clearsigned(around, now)
	if err != nil || signer != fingerprint(good) || string(got) != string(text) {
		t.Errorf("signed in itself: %q by %s: %v", got, signer, err)
	}
	for name, signed := range map[string][]byte{
		"by another key": clear(other), "by an expired key": clear(expired), "not at all": text,
		"changed": bytes.Replace(clear(good), []byte(a256), []byte(b256), 1),
	} {
		if _, _, err := keys(good).Clearsigned(signed, now); !errors.Is(err, ErrSignature) {
			t.Errorf("signed in itself %s: %v", name, err)
		}
	}
	if _, _, err := keys(expired).Clearsigned(clear(expired), now); err == nil || !strings.Contains(err.Error(), "key expired") {
		t.Errorf("signed in itself by an expired key: %v", err)
	}
}

func TestWeakHash(t *testing.T) {
	now := time.Now()
	e := entity(t, now.Add(-time.Hour), 0)
	k, err := ReadKeys(public(t, true, e), []string{strings.ToLower(fingerprint(e))})
	if err != nil {
		t.Fatal(err)
	}
	for hash, want := range map[crypto.Hash]string{crypto.SHA224: "too weak", crypto.SHA256: ""} {
		id := e.PrimaryKey.KeyId
		sig := &packet.Signature{Version: e.PrimaryKey.Version, SigType: packet.SigTypeBinary, PubKeyAlgo: e.PrimaryKey.PubKeyAlgo, Hash: hash, CreationTime: now.Add(-time.Minute), IssuerKeyId: &id}
		h := hash.New()
		h.Write([]byte("x"))
		var out bytes.Buffer
		if err := errors.Join(sig.Sign(h, e.PrivateKey, nil), sig.Serialize(&out)); err != nil {
			t.Fatal(err)
		}
		_, err := k.Detached([]byte("x"), out.Bytes(), now)
		if want == "" && err != nil || want != "" && (!errors.Is(err, ErrSignature) || !strings.Contains(err.Error(), want)) {
			t.Errorf("by %s: %v; want %q", hash, err, want)
		}
	}
}

func TestReadKeys(t *testing.T) {
	e := entity(t, time.Now(), 0)
	for name, data := range map[string][]byte{"another": public(t, true, e), "none": nil, "no keys": []byte("hello"), "broken": []byte(armored + " PUBLIC KEY BLOCK-----\n")} {
		if _, err := ReadKeys(data, []string{strings.Repeat("A", 40)}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add([]byte(a256+" *disk.img\n"), "disk.img")
	f.Add([]byte("SHA512 (disk.img) = "+c512), "disk.img")
	f.Add([]byte(c512), "x")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		d, err := Find(text, name)
		if err != nil {
			return
		}
		if _, err := Parse(string(d)); err != nil {
			t.Fatalf("found %q: %v", d, err)
		}
		if !bytes.Contains(bytes.ToLower(text), []byte(d.Sum())) {
			t.Fatalf("found %s, which the text does not hold", d)
		}
	})
}

// FuzzSignature has servers send whatever they like for signatures.
func FuzzSignature(f *testing.F) {
	now := time.Now()
	e, err := openpgp.NewEntity("Images", "", "images@example.org", &packet.Config{Time: func() time.Time { return now.Add(-time.Hour) }, Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		f.Fatal(err)
	}
	var binary, ascii, signed, public bytes.Buffer
	w, err := clearsign.Encode(&signed, e.PrivateKey, nil)
	if err != nil {
		f.Fatal(err)
	}
	_, err = w.Write([]byte("text\n- more\n"))
	err = errors.Join(err, w.Close(), e.Serialize(&public), openpgp.DetachSign(&binary, e, strings.NewReader("text"), nil), openpgp.ArmoredDetachSign(&ascii, e, strings.NewReader("text"), nil))
	if err != nil {
		f.Fatal(err)
	}
	keys, err := ReadKeys(public.Bytes(), []string{fingerprint(e)})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{binary.Bytes(), ascii.Bytes(), signed.Bytes(), public.Bytes()} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		if _, err := keys.Detached([]byte("another text"), sent, now.Add(time.Minute)); err == nil {
			t.Error("a signature of something else holds")
		}
		if text, _, err := keys.Clearsigned(sent, now.Add(time.Minute)); err == nil && string(bytes.TrimRight(text, "\n")) != "text\n- more" {
			t.Errorf("%q is signed", text)
		}
		_, _ = ReadKeys(sent, []string{fingerprint(e)})
	})
}
