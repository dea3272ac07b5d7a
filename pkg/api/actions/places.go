package actions

import (
	"context"
	"net/url"
	"slices"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerPlaces(t *api.Table) {
	api.Register(t, api.Action[ec2types.DescribeRegionsInput, ec2types.DescribeRegionsOutput]{
		Name: "DescribeRegions", Handler: a.describeRegions, Acts: []string{"RegionNames", "AllRegions", "Filters"},
	})
	api.Register(t, api.Action[ec2types.DescribeAvailabilityZonesInput, ec2types.DescribeAvailabilityZonesOutput]{
		Name: "DescribeAvailabilityZones", Handler: a.describeAvailabilityZones, Acts: []string{"ZoneNames", "ZoneIds", "AllAvailabilityZones", "Filters"},
	})
	api.Register(t, api.Action[ec2types.DescribeAccountAttributesInput, ec2types.DescribeAccountAttributesOutput]{
		Name: "DescribeAccountAttributes", Handler: a.describeAccountAttributes, Acts: []string{"AttributeNames"},
	})
}

// zoneID is the id of the cloud's one availability zone.
func (a *Actions) zoneID() string { return model.ZoneID(a.cloud.Info().Region) }

// optInStatus: nobody needs to opt in to the region or zone there is.
const optInStatus = "opt-in-not-required"

// describeRegions shows this region and those that the owner has named. AllRegions adds
// those that an account has not opted in to, of which there are none.
func (a *Actions) describeRegions(_ context.Context, in *ec2types.DescribeRegionsInput) (*ec2types.DescribeRegionsOutput, error) {
	known := a.cloud.Regions()
	for _, r := range in.RegionNames {
		if !slices.ContainsFunc(known, func(k model.Region) bool { return k.Name == r }) {
			return nil, model.Errorf(model.CodeInvalidParameterValue, "Invalid region name: [%s]", r).WithHint("this cloud is the region %s", known[0].Name)
		}
	}
	var regions []ec2types.Region
	for i, r := range known {
		if len(in.RegionNames) > 0 && !slices.Contains(in.RegionNames, r.Name) {
			continue
		}
		endpoint := r.Endpoint
		if i == 0 {
			endpoint = a.endpointHost()
		}
		regions = append(regions, ec2types.Region{RegionName: ptr(r.Name), Endpoint: &endpoint, OptInStatus: ptr(optInStatus)})
	}
	shown, err := filtered(regions, in.Filters, map[string]func(*ec2types.Region) []string{
		"endpoint":      func(r *ec2types.Region) []string { return value(r.Endpoint) },
		"opt-in-status": func(r *ec2types.Region) []string { return value(r.OptInStatus) },
		"region-name":   func(r *ec2types.Region) []string { return value(r.RegionName) },
	})
	return &ec2types.DescribeRegionsOutput{Regions: shown}, err
}

// endpointHost is where this region's EC2 is served: EC2 shows a host without the
// scheme. A daemon that AWS's clients cannot reach has the name that EC2 would have.
func (a *Actions) endpointHost() string {
	if u, err := url.Parse(a.node.Endpoint().Url); err == nil && u.Host != "" {
		return u.Host
	}
	return "ec2." + a.cloud.Info().Region + ".amazonaws.com"
}

func (a *Actions) describeAvailabilityZones(_ context.Context, in *ec2types.DescribeAvailabilityZonesInput) (*ec2types.DescribeAvailabilityZonesOutput, error) {
	region := a.cloud.Info().Region
	zone := ec2types.AvailabilityZone{
		GroupName: ptr(region), Messages: []ec2types.AvailabilityZoneMessage{}, NetworkBorderGroup: ptr(region), OptInStatus: ptr(optInStatus),
		RegionName: ptr(region), State: ptr(ec2types.AvailabilityZoneStateAvailable), ZoneId: ptr(a.zoneID()), ZoneName: ptr(a.cloud.Zone()), ZoneType: ptr("availability-zone"),
	}
	for what, ids := range map[*string][]string{zone.ZoneName: in.ZoneNames, zone.ZoneId: in.ZoneIds} {
		for _, id := range ids {
			if id != *what {
				return nil, model.Errorf(model.CodeInvalidParameterValue, "Invalid availability zone: [%s]", id).
					WithHint("this cloud has the zone %s, whose id is %s", *zone.ZoneName, *zone.ZoneId)
			}
		}
	}
	shown, err := filtered([]ec2types.AvailabilityZone{zone}, in.Filters, map[string]func(*ec2types.AvailabilityZone) []string{
		"group-name":       func(z *ec2types.AvailabilityZone) []string { return value(z.GroupName) },
		"message":          func(*ec2types.AvailabilityZone) []string { return nil },
		"opt-in-status":    func(z *ec2types.AvailabilityZone) []string { return value(z.OptInStatus) },
		"parent-zone-id":   func(z *ec2types.AvailabilityZone) []string { return value(z.ParentZoneId) },
		"parent-zone-name": func(z *ec2types.AvailabilityZone) []string { return value(z.ParentZoneName) },
		"region-name":      func(z *ec2types.AvailabilityZone) []string { return value(z.RegionName) },
		"state":            func(z *ec2types.AvailabilityZone) []string { return value(z.State) },
		"zone-id":          func(z *ec2types.AvailabilityZone) []string { return value(z.ZoneId) },
		"zone-name":        func(z *ec2types.AvailabilityZone) []string { return value(z.ZoneName) },
		"zone-type":        func(z *ec2types.AvailabilityZone) []string { return value(z.ZoneType) },
	})
	return &ec2types.DescribeAvailabilityZonesOutput{AvailabilityZones: shown}, err
}

// filtered returns the objects that pass the filters, for actions without ids and pages.
func filtered[T any](all []T, filters []ec2types.Filter, fields map[string]func(*T) []string) ([]T, error) {
	match, err := api.MatchFilters(filters, api.FilterBy[*T]{Names: fields})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(o T) bool { return !match(&o) }), nil
}

// describeAccountAttributes shows the attributes whose names EC2's model still has.
func (a *Actions) describeAccountAttributes(ctx context.Context, in *ec2types.DescribeAccountAttributesInput) (*ec2types.DescribeAccountAttributesOutput, error) {
	vpc, err := a.account(ctx).DefaultVPC(ctx)
	if err != nil {
		return nil, err
	}
	if vpc == "" {
		vpc = "none"
	}
	out := &ec2types.DescribeAccountAttributesOutput{}
	for _, at := range []struct{ name, value string }{
		{ec2types.AccountAttributeNameSupportedPlatforms, "VPC"},
		{ec2types.AccountAttributeNameDefaultVpc, vpc},
	} {
		if len(in.AttributeNames) > 0 && !slices.Contains(in.AttributeNames, at.name) {
			continue
		}
		out.AccountAttributes = append(out.AccountAttributes, ec2types.AccountAttribute{
			AttributeName: ptr(at.name), AttributeValues: []ec2types.AccountAttributeValue{{AttributeValue: ptr(at.value)}},
		})
	}
	return out, nil
}
