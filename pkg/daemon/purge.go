package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/layer"
	"github.com/bundt/bundt/pkg/store"
)

// newPurgeCommand removes a cloud from the host, while its daemon does not run.
func newPurgeCommand(cfg *Config) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "purge --yes", Args: cobra.NoArgs, Short: "End every machine of this data directory and remove all it holds",
		Long: "End every machine of this data directory and its network, and remove the\ndirectory: instances, images, keys, everything. The download cache stays.\nThe daemon must not be running.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.complete(); err != nil {
				return err
			}
			if !yes {
				return fmt.Errorf("this would end every machine and remove %s: say --yes if that is what you want", cfg.DataDir)
			}
			log, err := newLogger("warn")
			if err != nil {
				return err
			}
			return (&Daemon{cfg: *cfg, log: log}).purge(cmd.Context())
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	return c
}

func (d *Daemon) purge(ctx context.Context) (err error) {
	if _, err := os.Stat(d.path("etcd")); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s holds no cloud", d.cfg.DataDir)
	}
	// Holding the store's lock keeps a daemon from starting meanwhile.
	if d.store, err = store.Open(ctx, store.Options{Dir: d.path("etcd"), Migrations: cloud.Migrations(), Logger: d.log}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	driver, err := d.newDriver()
	if err != nil {
		return err
	}
	machines, err := driver.List(ctx)
	if err != nil {
		return fmt.Errorf("listing machines: %w", err)
	}
	for _, m := range machines {
		if err := driver.Remove(ctx, m.ID); err != nil {
			return fmt.Errorf("ending machine %s: %w", m.ID, err)
		}
	}
	for _, kind := range []string{networkUser, networkKernel} {
		if err := d.endNetwork(ctx, kind, true); err != nil {
			return fmt.Errorf("ending the network: %w", err)
		}
	}
	_, pools, err := d.cfg.pools()
	if err != nil {
		return err
	}
	layers, err := layer.Open(d.cfg.DataDir, pools...)
	if err != nil {
		return fmt.Errorf("opening the layer store: %w", err)
	}
	if err := layers.RemovePools(); err != nil {
		return err
	}
	for _, dir := range []string{d.cfg.DataDir, d.cfg.RunDir} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing %s: %w", dir, err)
		}
	}
	return nil
}
