package harness

import (
	"context"
	"fmt"
	"strings"
)

// Env is the environment that points AWS's clients at the daemon, as "bundt env"
// prints it: values by name.
func (d *Daemon) Env(ctx context.Context) (map[string]string, error) {
	out, err := d.Bundt(ctx, "env")
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for line := range strings.Lines(out) {
		assignment, ok := strings.CutPrefix(strings.TrimSpace(line), "export ")
		if !ok {
			continue // unset
		}
		name, value, ok := strings.Cut(assignment, "=")
		if !ok {
			return nil, fmt.Errorf("bundt env printed %q", line)
		}
		env[name] = strings.Trim(value, "'")
	}
	if env["AWS_ENDPOINT_URL"] == "" || env["AWS_SECRET_ACCESS_KEY"] == "" {
		return nil, fmt.Errorf("bundt env names no endpoint or no keys: %q", out)
	}
	return env, nil
}
