package store

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	root = "/bundt/v1/"
	// formatKey holds the version of the data's format.
	formatKey = root + ".format"
	// deletedPrefix + collection is written with every deletion from that
	// collection; see Tx.checks.
	deletedPrefix = root + ".deleted/"

	maxKeyBytes = 512
)

// Collections' names cannot begin with a dot, so that they never collide with
// the store's own keys.
var collectionName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

func collectionPrefix(name string) string { return root + name + "/" }

func checkKey(collection, key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%s: empty key", collection)
	case len(key) > maxKeyBytes:
		return fmt.Errorf("%s: key of %d bytes is longer than %d", collection, len(key), maxKeyBytes)
	}
	return checkKeyText(collection, key)
}

func checkKeyText(collection, key string) error {
	if !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) {
		return fmt.Errorf("%s: key %q is not printable text", collection, key)
	}
	return nil
}

// splitKey returns the collection and key of an object's etcd key; ok is false
// for the store's own keys.
func splitKey(etcdKey string) (collection, key string, ok bool) {
	rest, ok := strings.CutPrefix(etcdKey, root)
	if !ok || strings.HasPrefix(rest, ".") {
		return "", "", false
	}
	return strings.Cut(rest, "/")
}
