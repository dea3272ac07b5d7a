package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/hypervisor"
	"github.com/bundt/bundt/pkg/hypervisor/qemu/qmp"
	"github.com/bundt/bundt/pkg/model"
)

// peripherals is where QEMU keeps the devices that have an id.
const peripherals = "/machine/peripheral/"

// unplugTime is how long a call waits for the guest to let go of a device. Guests
// that use PCI Express' own hot-plug blink the slot's light for five seconds first.
const unplugTime = 2 * time.Second

// plugging calls f with the machine's monitor, while nothing else changes it.
func (d *Driver) plugging(ctx context.Context, id string, f func(*machine, *run, *qmp.Client) error) error {
	m, err := d.known(id)
	if err != nil {
		return err
	}
	m.op.Lock()
	defer m.op.Unlock()
	r, client, err := m.monitor(ctx)
	if err != nil {
		return err
	}
	if err := f(m, r, client); err != nil {
		return fmt.Errorf("machine %s: %w", id, err)
	}
	return nil
}

// x86 reports whether it has the places of x86's board.
func (m *machine) x86() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rec.Spec.Arch != model.ARM64
}

// plugged returns the devices of one kind by id, each with the place that it is
// in, the zero place for the root complex.
func plugged(ctx context.Context, client qmp.Executor, driver string) (map[string]place, error) {
	var list []struct{ Name, Type string }
	if err := client.Execute(ctx, "qom-list", map[string]any{"path": strings.TrimSuffix(peripherals, "/")}, &list); err != nil {
		return nil, err
	}
	devices := map[string]place{}
	for _, dev := range list {
		if dev.Type != "child<"+driver+">" {
			continue
		}
		at, err := placeOf(ctx, client, dev.Name)
		var refusal *qmp.Error
		if errors.As(err, &refusal) {
			continue // gone between the commands
		}
		if err != nil {
			return nil, err
		}
		devices[dev.Name] = at
	}
	return devices, nil
}

func placeOf(ctx context.Context, client qmp.Executor, device string) (place, error) {
	property := func(name string, out any) error {
		return client.Execute(ctx, "qom-get", map[string]any{"path": peripherals + device, "property": name}, out)
	}
	var parent string // such as /machine/peripheral/port3/port3
	if err := property("parent_bus", &parent); err != nil {
		return place{}, err
	}
	bus, hot := strings.CutPrefix(parent, peripherals)
	if !hot {
		return place{}, nil
	}
	bus, _, _ = strings.Cut(bus, "/")
	if bus != bridge {
		return place{bus: bus, hot: true}, nil
	}
	var address int // slot and function
	if err := property("addr", &address); err != nil {
		return place{}, err
	}
	return onBridge(address >> 3), nil
}

// freePlace is the first of the places that none of the devices is in.
func freePlace(devices map[string]place, places []place) (place, error) {
	taken := map[place]bool{}
	for _, at := range devices {
		taken[at] = true
	}
	for _, p := range places {
		if !taken[p] {
			return p, nil
		}
	}
	return place{}, fmt.Errorf("all of its %d places for such devices are taken", len(places))
}

// unplug asks for the end of a device and waits for it, a little.
func unplug(ctx context.Context, client *qmp.Client, driver, device string) error {
	events := client.Subscribe()
	defer events.Close()
	devices, err := plugged(ctx, client, driver)
	if err != nil {
		return err
	}
	if _, there := devices[device]; !there {
		return nil
	}
	err = client.Execute(ctx, "device_del", map[string]any{"id": device}, nil)
	var refusal *qmp.Error
	switch {
	case errors.As(err, &refusal) && refusal.Class == "DeviceNotFound":
		return nil
	case errors.As(err, &refusal) && strings.Contains(refusal.Desc, "unplug"): // asked already
	case err != nil:
		return err
	}
	patience := time.NewTimer(unplugTime)
	defer patience.Stop()
	for {
		select {
		case e, ok := <-events.C():
			if !ok {
				return qmp.ErrClosed
			}
			if deletedDevice(e) == device {
				return nil
			}
		case <-patience.C:
			return fmt.Errorf("unplugging %s: %w", device, hypervisor.ErrBusy)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// deletedDevice returns the id of the device whose end an event tells, or "".
func deletedDevice(e qmp.Event) string {
	var d struct{ Device string }
	if e.Name != "DEVICE_DELETED" || json.Unmarshal(e.Data, &d) != nil {
		return ""
	}
	return d.Device
}

// renote changes the record of what was plugged in; it saves it if change says so.
func (m *machine) renote(change func(*hypervisor.Spec) bool) error {
	m.mu.Lock()
	spec := m.rec.Spec
	changed := change(&spec)
	m.rec.Spec = spec
	rec := m.rec
	m.mu.Unlock()
	if !changed {
		return nil
	}
	return save(m.paths.spec(), rec, true)
}
