package actions

import (
	"context"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerProfiles(t *api.Table) {
	api.Register(t, api.Action[ec2types.AssociateIamInstanceProfileInput, ec2types.AssociateIamInstanceProfileOutput]{
		Name: "AssociateIamInstanceProfile", Acts: []string{"IamInstanceProfile", "InstanceId"},
		Handler: func(ctx context.Context, in *ec2types.AssociateIamInstanceProfileInput) (*ec2types.AssociateIamInstanceProfileOutput, error) {
			i, err := a.account(ctx).AssociateProfile(ctx, *in.InstanceId, profileRef(in.IamInstanceProfile))
			return &ec2types.AssociateIamInstanceProfileOutput{IamInstanceProfileAssociation: associationOf(&i, ec2types.IamInstanceProfileAssociationStateAssociating)}, err
		},
	})
	api.Register(t, api.Action[ec2types.ReplaceIamInstanceProfileAssociationInput, ec2types.ReplaceIamInstanceProfileAssociationOutput]{
		Name: "ReplaceIamInstanceProfileAssociation", Acts: []string{"AssociationId", "IamInstanceProfile"},
		Handler: func(ctx context.Context, in *ec2types.ReplaceIamInstanceProfileAssociationInput) (*ec2types.ReplaceIamInstanceProfileAssociationOutput, error) {
			i, err := a.account(ctx).ReplaceProfile(ctx, *in.AssociationId, profileRef(in.IamInstanceProfile))
			return &ec2types.ReplaceIamInstanceProfileAssociationOutput{IamInstanceProfileAssociation: associationOf(&i, ec2types.IamInstanceProfileAssociationStateAssociating)}, err
		},
	})
	api.Register(t, api.Action[ec2types.DisassociateIamInstanceProfileInput, ec2types.DisassociateIamInstanceProfileOutput]{
		Name: "DisassociateIamInstanceProfile", Acts: []string{"AssociationId"},
		Handler: func(ctx context.Context, in *ec2types.DisassociateIamInstanceProfileInput) (*ec2types.DisassociateIamInstanceProfileOutput, error) {
			i, err := a.account(ctx).DisassociateProfile(ctx, *in.AssociationId)
			return &ec2types.DisassociateIamInstanceProfileOutput{IamInstanceProfileAssociation: associationOf(&i, ec2types.IamInstanceProfileAssociationStateDisassociating)}, err
		},
	})
	api.Register(t, api.Action[ec2types.DescribeIamInstanceProfileAssociationsInput, ec2types.DescribeIamInstanceProfileAssociationsOutput]{
		Name: "DescribeIamInstanceProfileAssociations", Handler: a.describeProfileAssociations, Acts: []string{"AssociationIds", "Filters", "MaxResults", "NextToken"},
	})
}

// profileRef names an instance profile.
func profileRef(in *ec2types.IamInstanceProfileSpecification) cloud.ProfileRef {
	if in == nil {
		return cloud.ProfileRef{}
	}
	return cloud.ProfileRef{Name: ec2types.Value(in.Name), ARN: ec2types.Value(in.Arn)}
}

func profileOf(p *model.ProfileAssociation) *ec2types.IamInstanceProfile {
	if p == nil {
		return nil
	}
	return &ec2types.IamInstanceProfile{Arn: ptr(p.ARN), Id: ptr(p.ProfileID)}
}

// associationOf is an instance's association in that state.
func associationOf(i *model.Instance, state string) *ec2types.IamInstanceProfileAssociation {
	p := i.Profile
	if p == nil {
		return nil
	}
	return &ec2types.IamInstanceProfileAssociation{
		AssociationId: ptr(p.ID), IamInstanceProfile: profileOf(p), InstanceId: ptr(i.ID), State: ptr(state), Timestamp: ptr(p.Since),
	}
}

var associationKind = objectKind[model.Instance]{
	func(i *model.Instance) string { return i.Profile.ID }, isID(model.ProfAssocPrefix),
	"InvalidAssociationID.Malformed", "InvalidAssociationID.NotFound", "association ID",
}

func (a *Actions) describeProfileAssociations(ctx context.Context, in *ec2types.DescribeIamInstanceProfileAssociationsInput) (*ec2types.DescribeIamInstanceProfileAssociationsOutput, error) {
	instances, err := a.account(ctx).FindInstances(ctx, nil)
	if err != nil {
		return nil, err
	}
	var all []model.Instance
	for _, i := range instances {
		if i.Profile != nil && i.State != model.InstanceTerminated {
			all = append(all, *i)
		}
	}
	const state = ec2types.IamInstanceProfileAssociationStateAssociated
	page, next, err := describe(a, query[model.Instance]{
		action: "DescribeIamInstanceProfileAssociations", all: all, ids: in.AssociationIds, kind: associationKind, filters: in.Filters,
		fields: map[string]func(*model.Instance) []string{
			"instance-id": one(func(i *model.Instance) string { return i.ID }),
			"state":       one(func(*model.Instance) string { return state }),
		},
		max: in.MaxResults, token: in.NextToken, least: 5, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeIamInstanceProfileAssociationsOutput{NextToken: next}
	for i := range page {
		out.IamInstanceProfileAssociations = append(out.IamInstanceProfileAssociations, *associationOf(&page[i], state))
	}
	return out, nil
}
