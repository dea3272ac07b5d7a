package disk

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// secrets are the keys that a run of qemu-img needs. It reads each from a pipe: what
// is on a command line or in a file others may see.
type secrets struct {
	keys []Passphrase
}

// name is the secret's id of a key.
func (s *secrets) name(p Passphrase) string {
	i := slices.Index(s.keys, p)
	if i < 0 {
		i = len(s.keys)
		s.keys = append(s.keys, p)
	}
	return fmt.Sprintf("key%d", i)
}

// node describes a qcow2 file for QEMU; backing is the node below, or nil.
func (s *secrets) node(f ChainFile, backing any) map[string]any {
	node := map[string]any{
		"driver": FormatQcow2, "backing": backing,
		"file": map[string]any{"driver": "file", "filename": f.Path},
	}
	if f.Key != "" {
		node["encrypt"] = map[string]any{"format": "luks", "key-secret": s.name(f.Key)}
	}
	return node
}

// chain describes files that read from each other, the top one first.
func (s *secrets) chain(files []ChainFile) map[string]any {
	var below any // JSON null
	for _, f := range slices.Backward(files) {
		below = s.node(f, below)
	}
	node, _ := below.(map[string]any)
	return node
}

// run has qemu-img, whose arguments up to its verb are given, do something with the
// nodes, which come after the other arguments.
func (s *secrets) run(ctx context.Context, limited, verb []string, after []string, progress func(int), nodes ...map[string]any) error {
	args := slices.Concat(limited, verb)
	var files []*os.File
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	for i, key := range s.keys {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		files = append(files, r)
		_, err = w.WriteString(string(key)) // a pipe holds much more
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
		const firstExtraFile = 3
		args = append(args, "--object", fmt.Sprintf("secret,id=%s,file=/dev/fd/%d", s.name(key), firstExtraFile+i))
	}
	args = append(args, "--")
	for _, n := range nodes {
		text, err := json.Marshal(n)
		if err != nil {
			return err
		}
		args = append(args, "json:"+string(text))
	}
	return runQemuImg(ctx, append(args, after...), progress, files...)
}

// Copy writes what a chain of files shows into one new file dst, which reads from
// nothing and which key encrypts, "" for not. It returns when that is on stable
// storage; on an error dst does not exist. No file of the chain may be written to
// meanwhile. Zeros take no space.
func Copy(ctx context.Context, files []ChainFile, dst string, key Passphrase, o ConvertOptions) (err error) {
	if len(files) == 0 {
		return fmt.Errorf("copying to %s: there is nothing to copy", dst)
	}
	h, err := ReadLayerHeader(files[0].Path)
	if err != nil {
		return fmt.Errorf("copying to %s: %w", dst, err)
	}
	if dst, err = filepath.Abs(dst); err != nil {
		return err
	}
	limited, err := limitedQemuImg(o)
	if err != nil {
		return err
	}
	if err := WriteOverlay(dst, Overlay{SizeBytes: h.SizeBytes, Key: key}); err != nil {
		return err
	}
	verb := []string{"convert", "-n", "-q", "-O", FormatQcow2}
	if o.Progress != nil {
		verb[2] = "-p"
	}
	var s secrets
	err = s.run(ctx, limited, verb, nil, o.Progress, s.chain(files), s.node(ChainFile{Path: dst, Key: key}, nil))
	if err == nil {
		err = syncPath(dst)
	}
	if err != nil {
		_ = os.Remove(dst)
		return fmt.Errorf("copying %s to %s: %w", files[0].Path, dst, NoSpace(err))
	}
	return nil
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
