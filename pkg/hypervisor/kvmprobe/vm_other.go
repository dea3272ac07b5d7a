//go:build !linux || !(amd64 || arm64)

package kvmprobe

import (
	"context"
	"errors"
	"os"
	"time"
)

func run(context.Context, *os.File) (time.Duration, error) {
	return 0, errors.New("not probed: bundt has no probe guest for this architecture")
}
