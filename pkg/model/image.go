package model

import (
	"slices"
	"time"
)

// BootMode is an image's boot mode by EC2's name, "" where none was given.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-boot.html
type BootMode string

// The boot modes. Of an image that prefers UEFI, every machine here starts by it.
const (
	BootModeBIOS          BootMode = "legacy-bios"
	BootModeUEFI          BootMode = "uefi"
	BootModeUEFIPreferred BootMode = "uefi-preferred"
)

// BootModeOf is the boot mode that says no more than the firmware does; a kernel
// that is loaded directly has none.
func BootModeOf(f Firmware) BootMode {
	switch f {
	case FirmwareBIOS:
		return BootModeBIOS
	case FirmwareUEFI:
		return BootModeUEFI
	}
	return ""
}

// Protection keeps an image from being deregistered.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deregistration-protection.html
type Protection struct {
	Enabled bool `json:"enabled,omitempty"`
	// Cooldown has the protection last for a day after it was disabled.
	Cooldown bool      `json:"cooldown,omitempty"`
	Until    time.Time `json:"until,omitzero"` // end of the cooldown
}

// ProtectionCooldown is how long a protection with cooldown outlives its end.
const ProtectionCooldown = 24 * time.Hour

// Protects reports whether the image may not be deregistered now.
func (p Protection) Protects(now time.Time) bool { return p.Enabled || now.Before(p.Until) }

// String is EC2's name of the protection's state.
func (p Protection) String() string {
	switch {
	case p.Enabled && p.Cooldown:
		return "enabled-with-cooldown"
	case p.Enabled:
		return "enabled-without-cooldown"
	}
	return "disabled"
}

// Deprecated reports whether the image is deprecated now.
func (i *Image) Deprecated(now time.Time) bool {
	return !i.DeprecateAt.IsZero() && !now.Before(i.DeprecateAt)
}

// SeenBy is the image as an account sees it: what only its owner may know is
// left out for others.
func (i Image) SeenBy(account string) Image {
	if i.OwnerID != account {
		shared := slices.Contains(i.Launch.Accounts, account)
		i.Tags, i.Launch.Accounts, i.SourceInstance, i.ClientToken = nil, nil, "", ""
		i.LastLaunched, i.Protection, i.Made = time.Time{}, Protection{}, i.Made.forOthers()
		if shared {
			i.Launch.Accounts = []string{account}
		}
	}
	return i
}

// BinnedImage is a deregistered image in the recycle bin. Its snapshots cannot
// be deleted until it leaves the bin.
type BinnedImage struct {
	Image   Image     `json:"image"`
	Entered time.Time `json:"entered"`
	Exits   time.Time `json:"exits"` // when it is forgotten
	// DeleteSnapshots has its snapshots deleted with it.
	DeleteSnapshots bool `json:"deleteSnapshots,omitempty"`
}

// Owner is the account that the image belonged to.
func (b *BinnedImage) Owner() string { return b.Image.OwnerID }

// GoneImage remembers a deregistered image for a while.
type GoneImage struct {
	ID      string    `json:"id"`
	OwnerID string    `json:"ownerID"`
	Until   time.Time `json:"until"`
}

// Owner is the account that the image belonged to.
func (g *GoneImage) Owner() string { return g.OwnerID }

// ImageRetention is an account's rule of how long deregistered images stay in the
// recycle bin.
type ImageRetention struct {
	OwnerID string        `json:"ownerID"`
	Keep    time.Duration `json:"keep"` // 0: they are forgotten at once
}

// Owner is the account that the rule is for.
func (r *ImageRetention) Owner() string { return r.OwnerID }

// FirmwareFor is the firmware of an image that is registered with a boot mode; by
// EC2's default, where none is given, UEFI on arm64 and BIOS elsewhere.
func FirmwareFor(mode BootMode, arch Arch) (Firmware, error) {
	switch {
	case mode == BootModeBIOS && arch == ARM64:
		return "", Errorf(CodeInvalidParameterCombination, "arm64 images boot by uefi only")
	case mode == "" && arch == ARM64, mode == BootModeUEFI, mode == BootModeUEFIPreferred:
		return FirmwareUEFI, nil
	case mode == "", mode == BootModeBIOS:
		return FirmwareBIOS, nil
	}
	return "", Errorf(CodeInvalidParameterValue, "Value (%s) for parameter BootMode is invalid: must be legacy-bios, uefi or uefi-preferred", mode)
}
