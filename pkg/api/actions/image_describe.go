package actions

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

// marketAlias is EC2's name of the owner of publishers' images.
const marketAlias = "aws-marketplace"

// ownerAliases are EC2's names of owners. Only marketAlias has images here.
var ownerAliases = []string{"amazon", marketAlias, "aws-backup-vault", "microsoft"}

var accountID = regexp.MustCompile(`^[0-9]{12}$`)

// resolveImages finds the images that aliases among the ids mean.
func (a *Actions) resolveImages(ctx context.Context, in *ec2types.DescribeImagesInput) (*ec2types.DescribeImagesInput, error) {
	if !slices.ContainsFunc(in.ImageIds, func(id string) bool { return strings.HasPrefix(id, cloud.AliasPrefix) }) {
		return in, nil
	}
	out := *in
	out.ImageIds = slices.Clone(in.ImageIds)
	for i, text := range in.ImageIds {
		id, err := a.resolveAlias(ctx, text)
		if err != nil {
			return in, err
		}
		out.ImageIds[i] = id
	}
	return &out, nil
}

func (a *Actions) describeImages(ctx context.Context, in *ec2types.DescribeImagesInput) (*ec2types.DescribeImagesOutput, error) {
	found, err := a.account(ctx).FindImages(ctx, in.ImageIds)
	if err != nil {
		return nil, err
	}
	if len(found) < len(in.ImageIds) {
		gone, err := a.account(ctx).GoneImages(ctx)
		if err != nil {
			return nil, err
		}
		known := idsOf(found, imageKind.id)
		if err := imageKind.check(in.ImageIds, func(id string) bool { return known(id) || slices.Contains(gone, id) }); err != nil {
			return nil, err
		}
	}
	me := api.PrincipalFrom(ctx).AccountID
	owned, err := ownedBy(in.Owners, me)
	if err != nil {
		return nil, err
	}
	launchable, err := launchableBy(in.ExecutableUsers, me)
	if err != nil {
		return nil, err
	}
	now, named := a.cloud.Now(), len(in.ImageIds) > 0 // by id, everything is found
	found = those(found, func(i *model.Image) bool {
		return owned(i) && launchable(i) &&
			(named || !i.Deprecated(now) || i.OwnerID == me || ec2types.Value(in.IncludeDeprecated)) &&
			(named || i.State != model.ImageDisabled || ec2types.Value(in.IncludeDisabled))
	})
	page, next, err := describe(a, query[model.Image]{
		action: "DescribeImages", sorted: found, kind: imageKind, filters: in.Filters, also: []any{in.ImageIds, in.Owners, in.ExecutableUsers},
		fields: a.imageFields(), tags: func(i *model.Image) model.Tags { return i.Tags }, max: in.MaxResults, token: in.NextToken, least: 1, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeImagesOutput{NextToken: next}
	for i := range page {
		out.Images = append(out.Images, a.imageOf(&page[i], me))
	}
	return out, nil
}

// ownedBy tells the images of these owners: "self", account ids and EC2's aliases.
func ownedBy(owners []string, me string) (func(*model.Image) bool, error) {
	var ids []string
	for _, o := range owners {
		switch {
		case o == "self":
			ids = append(ids, me)
		case accountID.MatchString(o):
			ids = append(ids, o)
		case o == marketAlias:
			ids = append(ids, model.MarketAccount)
		case !slices.Contains(ownerAliases, o):
			return nil, model.Errorf("InvalidUserID.Malformed", "Invalid user id: %q: expect self, an account's twelve digits, or one of %v", o, ownerAliases)
		}
	}
	return func(i *model.Image) bool { return len(owners) == 0 || slices.Contains(ids, i.OwnerID) }, nil
}

// launchableBy tells the images with launch permissions for these users: "all" is
// everybody, "self" this account, which needs none for its own.
func launchableBy(users []string, me string) (func(*model.Image) bool, error) {
	var ids []string
	public := false
	for _, u := range users {
		switch {
		case u == "all":
			public = true
		case u == "self":
			ids = append(ids, me)
		case accountID.MatchString(u):
			ids = append(ids, u)
		default:
			return nil, model.Errorf("InvalidUserID.Malformed", "Invalid user id: %q: expect self, all, or an account's twelve digits", u)
		}
	}
	return func(i *model.Image) bool {
		return len(users) == 0 || public && i.Launch.Public ||
			slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(i.Launch.Accounts, id) })
	}, nil
}

// never is a filter on what no image here has.
func never(*model.Image) []string { return nil }

func (a *Actions) imageFields() map[string]func(*model.Image) []string {
	one := func(get func(*model.Image) string) func(*model.Image) []string {
		return func(i *model.Image) []string { return []string{get(i)} }
	}
	some := func(get func(*model.Image) string) func(*model.Image) []string {
		return func(i *model.Image) []string {
			if v := get(i); v != "" {
				return []string{v}
			}
			return nil
		}
	}
	each := func(get func(model.BlockDevice) string) func(*model.Image) []string {
		return func(i *model.Image) []string {
			var out []string
			for _, b := range i.BlockDevices {
				out = append(out, get(b))
			}
			return out
		}
	}
	return map[string]func(*model.Image) []string{
		"architecture":                     one(func(i *model.Image) string { return string(i.Arch) }),
		"block-device-mapping.device-name": each(func(b model.BlockDevice) string { return b.Device }),
		"block-device-mapping.snapshot-id": each(func(b model.BlockDevice) string { return b.SnapshotID }),
		"block-device-mapping.volume-size": each(func(b model.BlockDevice) string { return strconv.FormatInt(b.SizeGiB, 10) }),
		"block-device-mapping.volume-type": each(volumeTypeOf),
		"block-device-mapping.encrypted":   each(func(b model.BlockDevice) string { return strconv.FormatBool(b.Encrypted) }),
		"block-device-mapping.delete-on-termination": each(func(b model.BlockDevice) string {
			return strconv.FormatBool(b.DeleteOnTermination)
		}),
		"creation-date":      func(i *model.Image) []string { return timeFilter(i.Created) },
		"description":        one(func(i *model.Image) string { return i.Description }),
		"ena-support":        one(func(i *model.Image) string { return strconv.FormatBool(i.ENA) }),
		"free-tier-eligible": one(func(*model.Image) string { return "false" }),
		"hypervisor":         one(func(*model.Image) string { return "xen" }),
		"image-allowed":      one(func(*model.Image) string { return "true" }),
		"image-id":           one(func(i *model.Image) string { return i.ID }),
		"image-type":         one(func(*model.Image) string { return "machine" }),
		"is-public":          one(func(i *model.Image) string { return strconv.FormatBool(i.Launch.Public) }),
		"kernel-id":          never,
		"manifest-location":  one(func(i *model.Image) string { return i.OwnerID + "/" + i.Name }),
		"name":               one(func(i *model.Image) string { return i.Name }),
		"owner-alias":        some(ownerAlias),
		"owner-id":           one(func(i *model.Image) string { return i.OwnerID }),
		"platform":           never, // only Windows has one
		"product-code":       func(i *model.Image) []string { return i.ProductCodes },
		"product-code.type": func(i *model.Image) []string {
			return codeTypes(i.ProductCodes)
		},
		"ramdisk-id":           never,
		"root-device-name":     one(func(i *model.Image) string { return i.RootDevice }),
		"root-device-type":     one(func(*model.Image) string { return "ebs" }),
		"source-image-id":      some(sourceImage),
		"source-image-region":  some(func(i *model.Image) string { return a.sourceRegion(i) }),
		"source-instance-id":   some(func(i *model.Image) string { return i.SourceInstance }),
		"sriov-net-support":    some(func(i *model.Image) string { return i.SriovNet }),
		"state":                one(func(i *model.Image) string { return string(i.State) }),
		"state-reason-code":    some(func(i *model.Image) string { return i.StateReason.Code }),
		"state-reason-message": some(func(i *model.Image) string { return i.StateReason.Message }),
		"virtualization-type":  one(func(*model.Image) string { return "hvm" }),
	}
}

func volumeTypeOf(b model.BlockDevice) string {
	if b.VolumeType == "" {
		return volumeType
	}
	return b.VolumeType
}

// sourceImage is the image that a copy is of, or that the instance ran that the
// image was made of.
func sourceImage(i *model.Image) string {
	if o := i.Origin; o != nil && o.ImageID != "" {
		return o.ImageID
	}
	return i.ParentImage
}

func (a *Actions) sourceRegion(i *model.Image) string {
	if o := i.Origin; o != nil && o.Region != "" {
		return o.Region
	}
	if i.ParentImage == "" {
		return ""
	}
	return a.cloud.Info().Region
}

// imageOf is the image in EC2's shape, for one of its owner's callers or another's.
func (a *Actions) imageOf(i *model.Image, viewer string) ec2types.Image {
	out := ec2types.Image{
		Architecture: ptr(string(i.Arch)), BootMode: str(string(i.Boot.Mode)), CreationDate: ptr(imageTime(i.Created)),
		Description: str(i.Description), EnaSupport: ptr(i.ENA), Hypervisor: ptr("xen"), ImageId: ptr(i.ID), ImdsSupport: str(i.IMDS),
		ImageLocation: ptr(i.OwnerID + "/" + i.Name), ImageType: ptr("machine"), Name: ptr(i.Name), OwnerId: ptr(i.OwnerID),
		PlatformDetails: ptr("Linux/UNIX"), Public: ptr(i.Launch.Public), RootDeviceName: ptr(i.RootDevice), RootDeviceType: ptr("ebs"),
		SourceImageId: str(sourceImage(i)), SourceImageRegion: str(a.sourceRegion(i)), SourceInstanceId: str(i.SourceInstance), SriovNetSupport: str(i.SriovNet),
		State: ptr(string(i.State)), StateReason: reasonOf(i.StateReason), Tags: tagsOf(i.Tags),
		VirtualizationType: ptr("hvm"), UsageOperation: ptr("RunInstances"),
		ImageOwnerAlias: str(ownerAlias(i)), ProductCodes: productCodesOf(i.ProductCodes),
	}
	if !i.DeprecateAt.IsZero() {
		out.DeprecationTime = ptr(imageTime(i.DeprecateAt))
	}
	if i.OwnerID == viewer {
		out.DeregistrationProtection = ptr(i.Protection.String())
	}
	if !i.LastLaunched.IsZero() {
		out.LastLaunchedTime = ptr(imageTime(i.LastLaunched))
	}
	for _, b := range i.BlockDevices {
		out.BlockDeviceMappings = append(out.BlockDeviceMappings, mappingOf(b))
	}
	return out
}

func ownerAlias(i *model.Image) string {
	if i.OwnerID == model.MarketAccount {
		return marketAlias
	}
	return ""
}

// productCodesOf are product codes in EC2's shape.
func productCodesOf(codes []string) (out []ec2types.ProductCode) {
	for _, c := range codes {
		out = append(out, ec2types.ProductCode{ProductCodeId: ptr(c), ProductCodeType: ptr(ec2types.ProductCodeValuesMarketplace)})
	}
	return out
}

func codeTypes(codes []string) []string {
	if len(codes) == 0 {
		return nil
	}
	return []string{ec2types.ProductCodeValuesMarketplace}
}

// imageTime is how EC2 writes the times of an image, which are text.
func imageTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func mappingOf(b model.BlockDevice) ec2types.BlockDeviceMapping {
	ebs := &ec2types.EbsBlockDevice{
		DeleteOnTermination: ptr(b.DeleteOnTermination), Encrypted: ptr(b.Encrypted), SnapshotId: str(b.SnapshotID),
		VolumeSize: ptr(int32(b.SizeGiB)), VolumeType: ptr(volumeTypeOf(b)),
	}
	if b.IOPS != 0 {
		ebs.Iops = ptr(int32(b.IOPS))
	}
	if b.Throughput != 0 {
		ebs.Throughput = ptr(int32(b.Throughput))
	}
	return ec2types.BlockDeviceMapping{DeviceName: ptr(b.Device), Ebs: ebs}
}
