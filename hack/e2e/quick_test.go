//go:build vm && !slow

package e2e

import (
	"context"
	"time"
)

// warmFor is how long all that is baked may take.
const warmFor = 20 * time.Minute

func slowBakes() []baked { return nil }

func warmSlow(context.Context) error { return nil }
