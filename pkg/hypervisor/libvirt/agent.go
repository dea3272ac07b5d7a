//go:build libvirt

package libvirt

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// agentSeconds: how long a guest may take to write its caches out.
const agentSeconds = 10

// agentListens reports whether the guest has opened the agent's port.
func (m *domain) agentListens() bool {
	x, err := m.xml()
	if err != nil {
		return false
	}
	for _, c := range x.Devices.Channels {
		if c.Target != nil && c.Target.VirtIO != nil && c.Target.VirtIO.Name == agentPort {
			return c.Target.VirtIO.State == "connected"
		}
	}
	return false
}

// freeze freezes the guest's filesystems if its agent answers. Its thaw is always to be
// called, and says itself what it could not do.
func (m *domain) freeze() (frozen bool, thaw func()) {
	nothing := func() {}
	if !m.agentListens() {
		return false, nothing
	}
	log := m.driver.log.With("machine", m.id())
	// From here on the guest may be frozen, whatever we hear; also if we are killed, so
	// that the next driver thaws it.
	if err := os.WriteFile(m.driver.frozenMark(m.id()), nil, 0o600); err != nil {
		log.Warn("snapshot without freezing", "error", err)
		return false, nothing
	}
	if err := m.dom.AgentSetResponseTimeout(agentSeconds, 0); err != nil {
		log.Warn("bounding the guest agent's time", "error", err)
	}
	err := m.dom.FSFreeze(nil, 0)
	if err != nil {
		log.Warn("freezing a guest's filesystems", "error", err)
	}
	return err == nil, m.thaw
}

// thaw unfreezes the guest. It tries for some time if the guest does not answer.
func (m *domain) thaw() {
	for range 6 {
		if active, err := m.dom.IsActive(); err == nil && !active {
			break
		}
		err := m.dom.FSThaw(nil, 0)
		if err == nil {
			break
		}
		m.driver.log.Error("thawing a guest's filesystems", "machine", m.id(), "error", err)
		select {
		case <-time.After(time.Second):
		case <-m.driver.ctx.Done():
			return
		}
	}
	if err := os.Remove(m.driver.frozenMark(m.id())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.driver.log.Warn("forgetting that a guest was frozen", "machine", m.id(), "error", err)
	}
}
