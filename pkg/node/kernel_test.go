package node_test

import (
	"testing"
)

// TestKernelsOfAnImage checks that both forms of a kernel are kept for as long as
// an image needs them, and that the compressed one is enough.
func TestKernelsOfAnImage(t *testing.T) {
	w := newWorld(t)
	img := w.build()
	inst := w.run(img.ID)
	if err := w.node.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	spec, err := w.node.Spec(t.Context(), &inst)
	if err != nil {
		t.Fatal(err)
	}
	if spec.Boot.Kernel == "" || spec.Boot.VMLinux == "" || spec.Boot.Kernel == spec.Boot.VMLinux {
		t.Errorf("the machine's kernels are %+v", spec.Boot)
	}
	if err := w.layers.DeleteBlob(t.Context(), img.Boot.VMLinuxDigest); err != nil {
		t.Fatal(err)
	}
	if spec, err = w.node.Spec(t.Context(), &inst); err != nil || spec.Boot.VMLinux != "" || spec.Boot.Kernel == "" {
		t.Errorf("without the uncompressed kernel: %+v, %v", spec.Boot, err)
	}
	if err := w.layers.DeleteBlob(t.Context(), img.Boot.KernelDigest); err != nil {
		t.Fatal(err)
	}
	if _, err := w.node.Spec(t.Context(), &inst); err == nil {
		t.Error("a machine without its kernel was described")
	}
}
