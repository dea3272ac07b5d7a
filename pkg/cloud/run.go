package cloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// Launch is what RunInstances asks for.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html
type Launch struct {
	ImageID         string
	Type            string // "" is the default for the image's architecture
	KeyName         string
	UserData        []byte
	MinCount        int
	MaxCount        int
	ClientToken     string `json:"-"`
	BlockDevices    []BlockDeviceOverride
	Metadata        model.MetadataOptions
	TerminateOnHalt bool
	Accel           string // "", "kvm" or "tcg"
	Display         bool   // machines get a graphics card
	Options         model.InstanceOptions
	Tags            model.Tags
	VolumeTags      model.Tags
	InterfaceTags   model.Tags
	Profile         ProfileRef        `json:",omitzero"`
	Interfaces      []LaunchInterface // none is one new interface in the default subnet
	// SystemTags are EC2's own, with the reserved prefix "aws:".
	SystemTags model.Tags
	// Build is the build that the instance works for, and PublicKey lets it in.
	Build     string `json:",omitempty"`
	PublicKey string `json:",omitempty"`
	// Request identifies what the client asked for, where that is less than the
	// rest says: "$Latest" of a launch template may mean another version when the
	// call is repeated. "" stands for all the rest.
	Request string
}

const (
	maxUserData = 16 << 10 // EC2's limit, before base64
	maxLaunch   = 1000
	// uefiMemoryMiB is what OVMF and AAVMF need beside a small guest: with 128
	// they end without a word.
	uefiMemoryMiB = 256
)

// Run writes the intent to run new instances of an image and returns them as
// pending. All or none are launched.
func (c *Account) Run(ctx context.Context, l Launch) ([]model.Instance, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	hash, err := l.hash()
	if err != nil {
		return nil, err
	}
	if _, err := c.defaults(ctx); err != nil {
		return nil, err
	}
	done, err := c.inTurn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	admitted := c.admission.begin()
	defer admitted.release()
	var out []model.Instance
	err = c.store.Update(ctx, func(tx *store.Tx) error {
		admitted.release() // of an attempt before
		ids, err := c.idempotent(tx, "RunInstances", l.ClientToken, hash, func() ([]string, error) {
			return c.launch(ctx, tx, l, admitted)
		})
		if err != nil {
			return err
		}
		out = out[:0]
		for _, id := range ids {
			i, err := get(tx, records.Instances, id, instanceNotFound(id))
			if err != nil {
				return err
			}
			out = append(out, i)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, c.nameInstances(ctx, out)
}

func (l *Launch) check() error {
	if len(l.Interfaces) == 0 {
		l.Interfaces = []LaunchInterface{{}}
	}
	if err := l.checkInterfaces(); err != nil {
		return err
	}
	switch {
	case l.MinCount < 1 || l.MaxCount < l.MinCount:
		return model.Errorf(model.CodeInvalidParameterValue, "MinCount %d and MaxCount %d: both must be at least 1, and MaxCount not less than MinCount", l.MinCount, l.MaxCount)
	case l.MaxCount > maxLaunch:
		return model.Errorf(model.CodeInvalidParameterValue, "MaxCount %d: at most %d instances can be launched by one call", l.MaxCount, maxLaunch)
	case len(l.UserData) > maxUserData:
		return userDataTooLong(len(l.UserData))
	case l.Accel != "" && l.Accel != "kvm" && l.Accel != "tcg":
		return model.Errorf(model.CodeInvalidParameterValue, "accelerator %q: must be kvm or tcg", l.Accel)
	}
	return checkTags(l.Tags, l.VolumeTags, l.InterfaceTags)
}

// hash identifies the launch for its client token.
func (l *Launch) hash() (string, error) {
	if l.Request != "" {
		return paramsHash(l.Request)
	}
	return paramsHash(l)
}

// paramsHash identifies a request's parameters, so that a reused client token
// with other parameters is noticed.
func paramsHash(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("hashing the request: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

func (c *Account) launch(ctx context.Context, tx *store.Tx, l Launch, admitted *promise) ([]string, error) {
	img, err := c.launchImage(tx, l.ImageID, l.Build)
	if err != nil {
		return nil, err
	}
	typ, err := chooseType(l.Type, img.Arch)
	if err != nil {
		return nil, err
	}
	if err := fitsFirmware(typ, img.Boot, img.ID); err != nil {
		return nil, err
	}
	if err := fitOptions(&l.Options, typ); err != nil {
		return nil, err
	}
	pub, err := c.launchKey(tx, l.KeyName)
	if err != nil {
		return nil, err
	}
	mapping, err := c.launchMapping(tx, &img, l.BlockDevices)
	if err != nil {
		return nil, err
	}
	if l.Build != "" {
		pub = l.PublicKey
		mapping = withNothingLeft(mapping)
	}
	want, err := c.room(tx, &l, typ, img.Arch, mapping)
	if err != nil {
		return nil, err
	}
	node, ids, err := admitted.admit(ctx, want)
	if err != nil {
		return nil, err
	}
	profile, err := c.launchProfile(tx, l.Profile)
	if err != nil {
		return nil, err
	}
	now := c.now().UTC()
	if err := noteLaunch(tx, img, now); err != nil {
		return nil, err
	}
	base := model.Instance{
		ReservationID: model.NewID(model.ReservationPrefix), OwnerID: c.id,
		ClientToken: l.ClientToken, ImageID: img.ID, Type: typ.Name, Arch: img.Arch,
		KeyName: l.KeyName, PublicKey: pub, UserData: l.UserData, LoginUser: img.LoginUser,
		Boot: img.Boot, Node: node, LaunchTime: now, RootDevice: img.RootDevice,
		Metadata: l.Metadata, TerminateOnHalt: l.TerminateOnHalt, RequestedAccel: l.Accel, Display: l.Display,
		Options: l.Options, ProductCodes: img.ProductCodes, Build: l.Build,
		State: model.InstancePending, Desired: model.InstanceRunning,
		Reachability: model.ReachabilityInitializing,
	}
	for n, id := range ids {
		inst := base
		inst.ID, inst.LaunchIndex, inst.Tags = id, n, withTags(l.Tags, l.SystemTags)
		if profile != nil {
			own := *profile
			own.ID, inst.Profile = model.NewID(model.ProfAssocPrefix), &own
		}
		if err := c.addInterfaces(tx, &inst, l); err != nil {
			return nil, err
		}
		if inst.Volumes, err = c.newVolumes(tx, &inst, mapping, l.VolumeTags); err != nil {
			return nil, err
		}
		if err := records.Instances.Put(tx, &inst); err != nil {
			return nil, err
		}
		err := records.Lineages.Put(tx, &model.Lineage{ID: inst.ID, OwnerID: inst.OwnerID, Kind: model.LineageInstance, Name: inst.Tags["Name"], Parent: img.ID, Created: now})
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// room is what a launch asks admission for.
func (c *Account) room(tx *store.Tx, l *Launch, typ model.InstanceType, arch model.Arch, mapping []model.BlockDevice) (want ask, err error) {
	want = ask{account: c.id, typ: typ, min: l.MinCount}
	if want.quotas, err = c.quotas(tx); err != nil {
		return want, err
	}
	if want.max, err = c.volumesFit(tx, want.quotas, mapping, l.MinCount, l.MaxCount); err != nil {
		return want, err
	}
	want.nodes, err = nodesFor(tx, arch)
	return want, err
}

// launchImage is the image of a launch; those of a build, which have not passed
// yet, are for that build only.
func (c *Account) launchImage(tx *store.Tx, id, build string) (model.Image, error) {
	if err := model.CheckID(model.ImagePrefix, id); err != nil {
		return model.Image{}, model.Errorf(model.CodeImageIDMalformed, "Invalid id: %v", err)
	}
	img, err := get(tx, records.Images, id, imageNotFound(id))
	switch {
	case err != nil:
		return img, err
	case !img.UsableBy(c.id):
		return img, imageNotFound(id)
	case img.State == model.ImageTransient && build != "" && img.Build == build:
	case img.State != model.ImageAvailable:
		return img, model.Errorf(model.CodeImageIDUnavailable, "The image %s is %s, not available", img.ID, img.State)
	}
	return img, c.optedIn(tx, img.ProductCodes)
}

func userDataTooLong(n int) error {
	return model.Errorf(model.CodeInvalidParameterValue, "User data is limited to %d bytes; this has %d", maxUserData, n).
		WithHint("let the script fetch what it needs, or compress it")
}

// fitsFirmware refuses a type whose memory an image's firmware cannot start with.
func fitsFirmware(typ model.InstanceType, boot model.Boot, image string) error {
	if boot.Firmware != model.FirmwareUEFI || typ.MemoryMiB >= uefiMemoryMiB {
		return nil
	}
	return model.Errorf(model.CodeUnsupported, "The instance type %s has %d MiB of memory; the image %s boots by UEFI, which needs %d", typ.Name, typ.MemoryMiB, image, uefiMemoryMiB).
		WithHint("choose a larger type, for instance b1.micro")
}

func chooseType(name string, arch model.Arch) (model.InstanceType, error) {
	if name == "" {
		name = model.DefaultInstanceType
		if arch == model.ARM64 {
			name = "t4g.small" // EC2's default cannot run arm64 images; this one is as large
		}
	}
	typ, ok := model.InstanceTypeByName(name)
	if !ok {
		return typ, model.Errorf(model.CodeInvalidParameterValue, "Invalid value '%s' for InstanceType", name).
			WithHint("bundt type ls shows the types there are")
	}
	if !typ.Supports(arch) {
		return typ, model.Errorf(model.CodeUnsupported, "The instance type %s does not run images of architecture %s", name, arch).
			WithHint("bundt type ls shows each type's architectures")
	}
	return typ, nil
}

func (c *Account) launchProfile(tx *store.Tx, ref ProfileRef) (*model.ProfileAssociation, error) {
	if ref == (ProfileRef{}) {
		return nil, nil
	}
	return c.newAssociation(tx, ref)
}

func (c *Account) launchKey(tx *store.Tx, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	k, err := c.keyByName(tx, name)
	if err != nil {
		return "", err
	}
	return k.PublicKey, nil
}
