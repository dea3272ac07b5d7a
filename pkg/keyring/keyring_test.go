package keyring_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/keyring"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

func TestRing(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s, err := store.Open(ctx, store.Options{Dir: filepath.Join(dir, "etcd"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	file := filepath.Join(dir, "volume.key")
	ring, err := keyring.Open(ctx, s, file)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ring.New("111122223333", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	secret, err := ring.Passphrase(&k)
	if err != nil || len(secret) != 64 {
		t.Fatalf("%q, %v", secret, err)
	}
	again, err := keyring.Open(ctx, s, file)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := again.Passphrase(&k); err != nil || same != secret {
		t.Errorf("opened again: %q, %v", same, err)
	}
	id, err := ring.AccountKey(k.OwnerID)
	if same, _ := again.AccountKey(k.OwnerID); err != nil || same != id {
		t.Errorf("the account's key is %q and %q, %v", id, same, err)
	}
	// It belongs to its account and its id.
	other, renamed := k, k
	other.OwnerID, renamed.ID = "444455556666", "datakey-00000000000000000"
	for name, bad := range map[string]error{"another account": only(ring.Passphrase(&other)), "another id": only(ring.Passphrase(&renamed))} {
		if bad == nil {
			t.Errorf("it opens for %s", name)
		}
	}

	if err := s.Update(ctx, func(tx *store.Tx) error { return records.DataKeys.Put(tx, &k) }); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Open(ctx, s, file); err == nil {
		t.Error("a new key was made though there are volumes that need the old one")
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("and was written")
	}
	if err := os.Chmod(file+".away", 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Open(ctx, s, file+".away"); err == nil {
		t.Error("a key that everybody can read is taken")
	}
	for _, uri := range []string{"pkcs11:token=a;object=b", "tpm2:0x81000001"} {
		if _, err := keyring.Open(ctx, s, uri); err == nil {
			t.Errorf("%s is taken", uri)
		} else {
			t.Log(err)
		}
	}
}

func only[T any](_ T, err error) error { return err }
