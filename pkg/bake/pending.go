package bake

import (
	"context"
	"errors"
)

// Bake placeholder
func Bake(ctx context.Context, r Request) (*Result, error) { return nil, errors.New("pending") }
