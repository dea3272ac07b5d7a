package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
)

// QEMU knows a key as a secret object. It needs the secret only while it opens a
// layer: afterwards the object is removed. A QEMU that is started reads its secrets
// from pipes, which are empty then; a running one is told them on its monitor.

// keysOf returns the keys of layers, each once.
func keysOf(layers ...hypervisor.Layer) (keys []hypervisor.Key) {
	for _, l := range layers {
		if l.Key.ID != "" && !slices.ContainsFunc(keys, func(k hypervisor.Key) bool { return k.ID == l.Key.ID }) {
			keys = append(keys, l.Key)
		}
	}
	return keys
}

// specKeys returns the keys of all disks, in the order of their pipes.
func specKeys(spec hypervisor.Spec) []hypervisor.Key {
	var layers []hypervisor.Layer
	for _, d := range spec.Disks {
		layers = append(layers, d.Layers...)
	}
	return keysOf(layers...)
}

// pipes returns what secrets are read from.
func pipes(keys []hypervisor.Key) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(files)
		}
	}()
	for _, k := range keys {
		if k.Secret == "" {
			return files, fmt.Errorf("key %s is not there to open its layers", k.ID)
		}
		r, w, err := os.Pipe()
		if err != nil {
			return files, fmt.Errorf("making a pipe for a key: %w", err)
		}
		files = append(files, r)
		_, err = w.WriteString(k.Secret) // a pipe holds much more
		if err = errors.Join(err, w.Close()); err != nil {
			return files, fmt.Errorf("writing a key: %w", err)
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// withKeys calls open while QEMU knows the keys of these layers.
func withKeys(ctx context.Context, client *qmp.Client, layers []hypervisor.Layer, open func() error) error {
	keys := keysOf(layers...)
	defer forgetKeys(client, keys)
	for _, k := range keys {
		add := map[string]any{"qom-type": "secret", "id": k.ID, "data": k.Secret}
		err := client.Execute(ctx, "object-add", add, nil)
		var refusal *qmp.Error
		if errors.As(err, &refusal) { // one of that name was left by a driver that was killed
			_ = client.Execute(ctx, "object-del", map[string]any{"id": k.ID}, nil)
			err = client.Execute(ctx, "object-add", add, nil)
		}
		if err != nil {
			return fmt.Errorf("telling QEMU key %s: %w", k.ID, err)
		}
	}
	return open()
}

// forgetKeys removes the secrets; what was opened with them stays open.
func forgetKeys(client *qmp.Client, keys []hypervisor.Key) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	for _, k := range keys {
		_ = client.Execute(ctx, "object-del", map[string]any{"id": k.ID}, nil)
	}
}
