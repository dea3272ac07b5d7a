package qemu

import (
	"image/color"
	"strings"
	"testing"
)

func TestReadPPM(t *testing.T) {
	shot, err := readPPM(strings.NewReader("P6\n2 1\n255\n\xff\x00\x01\n \t"))
	if err != nil {
		t.Fatal(err)
	}
	if b := shot.Bounds(); b.Dx() != 2 || b.Dy() != 1 {
		t.Errorf("bounds are %v", b)
	}
	for x, want := range []color.RGBA{{0xff, 0, 1, 255}, {'\n', ' ', '\t', 255}} {
		if got := shot.At(x, 0); got != want {
			t.Errorf("point %d is %v, want %v", x, got, want)
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "other format": "P5\n1 1\n255\nx", "short": "P6\n2 1\n255\nxxxxx", "no size": "P6\n0 1\n255\n",
		"too large": "P6\n100000 100000\n255\n", "negative": "P6\n-1 1\n255\n", "deep": "P6\n1 1\n65535\nxxxxxx",
	} {
		if _, err := readPPM(strings.NewReader(text)); err == nil {
			t.Errorf("%s is a picture", name)
		}
	}
}
