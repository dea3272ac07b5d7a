package actions

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerLaunchTemplates(t *api.Table) {
	named := []string{"LaunchTemplateId", "LaunchTemplateName"}
	api.Register(t, api.Action[ec2types.CreateLaunchTemplateInput, ec2types.CreateLaunchTemplateOutput]{
		Name: "CreateLaunchTemplate", Handler: a.createLaunchTemplate, KeepEmpty: emptyTemplateNoDevice,
		Acts: append(templateDataActs(), "LaunchTemplateName", "VersionDescription", "TagSpecifications", "ClientToken"),
	})
	api.Register(t, api.Action[ec2types.CreateLaunchTemplateVersionInput, ec2types.CreateLaunchTemplateVersionOutput]{
		Name: "CreateLaunchTemplateVersion", Handler: a.createLaunchTemplateVersion, KeepEmpty: emptyTemplateNoDevice,
		Acts: append(append(templateDataActs(), named...), "SourceVersion", "VersionDescription", "ClientToken", "ResolveAlias"),
		Resolve: resolveTemplate(a, func(in *ec2types.CreateLaunchTemplateVersionInput) (id, name **string) {
			return &in.LaunchTemplateId, &in.LaunchTemplateName
		}),
	})
	api.Register(t, api.Action[ec2types.DeleteLaunchTemplateInput, ec2types.DeleteLaunchTemplateOutput]{
		Name: "DeleteLaunchTemplate", Handler: a.deleteLaunchTemplate, Acts: named,
		Resolve: resolveTemplate(a, func(in *ec2types.DeleteLaunchTemplateInput) (id, name **string) {
			return &in.LaunchTemplateId, &in.LaunchTemplateName
		}),
	})
	api.Register(t, api.Action[ec2types.DeleteLaunchTemplateVersionsInput, ec2types.DeleteLaunchTemplateVersionsOutput]{
		Name: "DeleteLaunchTemplateVersions", Handler: a.deleteLaunchTemplateVersions, Acts: append([]string{"Versions"}, named...),
		Resolve: resolveTemplate(a, func(in *ec2types.DeleteLaunchTemplateVersionsInput) (id, name **string) {
			return &in.LaunchTemplateId, &in.LaunchTemplateName
		}),
	})
	api.Register(t, api.Action[ec2types.ModifyLaunchTemplateInput, ec2types.ModifyLaunchTemplateOutput]{
		Name: "ModifyLaunchTemplate", Handler: a.modifyLaunchTemplate, Acts: append([]string{"DefaultVersion", "ClientToken"}, named...),
		Resolve: resolveTemplate(a, func(in *ec2types.ModifyLaunchTemplateInput) (id, name **string) {
			return &in.LaunchTemplateId, &in.LaunchTemplateName
		}),
	})
	api.Register(t, api.Action[ec2types.DescribeLaunchTemplatesInput, ec2types.DescribeLaunchTemplatesOutput]{
		Name: "DescribeLaunchTemplates", Handler: a.describeLaunchTemplates,
		Acts: []string{"LaunchTemplateIds", "LaunchTemplateNames", "Filters", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[ec2types.DescribeLaunchTemplateVersionsInput, ec2types.DescribeLaunchTemplateVersionsOutput]{
		Name: "DescribeLaunchTemplateVersions", Handler: a.describeLaunchTemplateVersions,
		Acts: append([]string{"Versions", "MinVersion", "MaxVersion", "Filters", "MaxResults", "NextToken", "ResolveAlias"}, named...),
	})
	api.Register(t, api.Action[ec2types.GetLaunchTemplateDataInput, ec2types.GetLaunchTemplateDataOutput]{
		Name: "GetLaunchTemplateData", Handler: a.getLaunchTemplateData, Acts: []string{"InstanceId"},
	})
}

var emptyTemplateNoDevice = []string{"LaunchTemplateData.BlockDeviceMappings.NoDevice"}

// templateDataActs are the launch parameters that a template can hold: those that
// a launch acts on, as far as templates have them.
func templateDataActs() []string {
	var out []string
	for _, path := range runActs() {
		switch name, _, _ := strings.Cut(path, "."); name {
		case "MinCount", "MaxCount", "ClientToken", "SubnetId", "PrivateIpAddress", "Ipv6Addresses", "Ipv6AddressCount", "LaunchTemplate":
		default:
			out = append(out, "LaunchTemplateData."+path)
		}
	}
	return out
}

// templateRef is a template by the members that name it.
func templateRef(id, name *string) cloud.TemplateRef {
	return cloud.TemplateRef{ID: ec2types.Value(id), Name: ec2types.Value(name)}
}

// resolveTemplate makes what replaces a template's name by its id, which is what
// policies are about. members finds both in a request.
func resolveTemplate[I any](a *Actions, members func(*I) (id, name **string)) func(context.Context, *I) (*I, error) {
	return func(ctx context.Context, in *I) (*I, error) {
		id, name := members(in)
		if *name == nil || *id != nil {
			return in, nil
		}
		t, err := a.account(ctx).LaunchTemplates(ctx, cloud.TemplateRef{Name: **name})
		if err != nil {
			return in, err
		}
		resolved := *in
		id, name = members(&resolved)
		*id, *name = ptr(t[0].ID), nil
		return &resolved, nil
	}
}

// templateData is launch parameters as they are kept.
func templateData(data *ec2types.RequestLaunchTemplateData) ([]byte, error) {
	specs := make([]ec2types.TagSpecification, len(data.TagSpecifications))
	for i, s := range data.TagSpecifications {
		specs[i] = ec2types.TagSpecification(s)
	}
	if _, err := tagSpecs(specs, launchTagged...); err != nil {
		return nil, err
	}
	b, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encoding launch template data: %w", err)
	}
	return b, nil
}

// mergeTemplateData lays launch parameters over others: a parameter that is given
// replaces the one below it whole, as EC2 does.
func mergeTemplateData(source, data []byte) ([]byte, error) {
	merged := map[string]json.RawMessage{}
	for _, layer := range [][]byte{source, data} {
		if err := json.Unmarshal(layer, &merged); err != nil {
			return nil, fmt.Errorf("decoding launch template data: %w", err)
		}
	}
	return json.Marshal(merged)
}

func (a *Actions) createLaunchTemplate(ctx context.Context, in *ec2types.CreateLaunchTemplateInput) (*ec2types.CreateLaunchTemplateOutput, error) {
	tags, err := oneTagSet(in.TagSpecifications, model.LaunchTemplatePrefix.ResourceType())
	if err != nil {
		return nil, err
	}
	data, err := templateData(in.LaunchTemplateData)
	if err != nil {
		return nil, err
	}
	t, err := a.account(ctx).CreateLaunchTemplate(ctx, cloud.TemplateRequest{
		Template: cloud.TemplateRef{Name: *in.LaunchTemplateName}, Description: ec2types.Value(in.VersionDescription), Data: data, Tags: tags,
		CreatedBy: callerARN(ctx), ClientToken: ec2types.Value(in.ClientToken),
	})
	return &ec2types.CreateLaunchTemplateOutput{LaunchTemplate: launchTemplateOf(&t)}, err
}

func callerARN(ctx context.Context) string {
	p := api.PrincipalFrom(ctx)
	return p.Identity.ARN()
}

func (a *Actions) createLaunchTemplateVersion(ctx context.Context, in *ec2types.CreateLaunchTemplateVersionInput) (*ec2types.CreateLaunchTemplateVersionOutput, error) {
	data, err := templateData(in.LaunchTemplateData)
	if err != nil {
		return nil, err
	}
	t, v, err := a.account(ctx).CreateLaunchTemplateVersion(ctx, cloud.TemplateRequest{
		Template: templateRef(in.LaunchTemplateId, in.LaunchTemplateName), Source: ec2types.Value(in.SourceVersion),
		Description: ec2types.Value(in.VersionDescription), Data: data, Merge: mergeTemplateData,
		CreatedBy: callerARN(ctx), ClientToken: ec2types.Value(in.ClientToken),
	})
	if err != nil {
		return nil, err
	}
	shown, err := templateVersionOf(&t, &v)
	if err == nil && ec2types.Value(in.ResolveAlias) {
		err = a.resolveAliases(ctx, []ec2types.LaunchTemplateVersion{*shown})
	}
	return &ec2types.CreateLaunchTemplateVersionOutput{LaunchTemplateVersion: shown}, err
}

func (a *Actions) deleteLaunchTemplate(ctx context.Context, in *ec2types.DeleteLaunchTemplateInput) (*ec2types.DeleteLaunchTemplateOutput, error) {
	t, err := a.account(ctx).DeleteLaunchTemplate(ctx, templateRef(in.LaunchTemplateId, in.LaunchTemplateName))
	return &ec2types.DeleteLaunchTemplateOutput{LaunchTemplate: launchTemplateOf(&t)}, err
}

// maxDeletedVersions is the most versions that one call deletes.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteLaunchTemplateVersions.html
const maxDeletedVersions = 200

func (a *Actions) deleteLaunchTemplateVersions(ctx context.Context, in *ec2types.DeleteLaunchTemplateVersionsInput) (*ec2types.DeleteLaunchTemplateVersionsOutput, error) {
	if len(in.Versions) > maxDeletedVersions {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "%d versions: one call deletes at most %d", len(in.Versions), maxDeletedVersions)
	}
	t, deleted, refused, err := a.account(ctx).DeleteLaunchTemplateVersions(ctx, templateRef(in.LaunchTemplateId, in.LaunchTemplateName), in.Versions)
	if err != nil {
		return nil, err
	}
	out := &ec2types.DeleteLaunchTemplateVersionsOutput{}
	for _, n := range deleted {
		out.SuccessfullyDeletedLaunchTemplateVersions = append(out.SuccessfullyDeletedLaunchTemplateVersions, ec2types.DeleteLaunchTemplateVersionsResponseSuccessItem{
			LaunchTemplateId: ptr(t.ID), LaunchTemplateName: ptr(t.Name), VersionNumber: ptr(n),
		})
	}
	for _, r := range refused {
		code := ec2types.LaunchTemplateErrorCodeUnexpectedError
		if r.Err.Code == model.CodeTemplateVersionNotFound {
			code = ec2types.LaunchTemplateErrorCodeLaunchTemplateVersionDoesNotExist
		}
		out.UnsuccessfullyDeletedLaunchTemplateVersions = append(out.UnsuccessfullyDeletedLaunchTemplateVersions, ec2types.DeleteLaunchTemplateVersionsResponseErrorItem{
			LaunchTemplateId: ptr(t.ID), LaunchTemplateName: ptr(t.Name), VersionNumber: ptr(r.Number),
			ResponseError: &ec2types.ResponseError{Code: ptr(code), Message: ptr(r.Err.Message)},
		})
	}
	return out, nil
}

func (a *Actions) modifyLaunchTemplate(ctx context.Context, in *ec2types.ModifyLaunchTemplateInput) (*ec2types.ModifyLaunchTemplateOutput, error) {
	if in.DefaultVersion == nil {
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter DefaultVersion")
	}
	t, err := a.account(ctx).SetDefaultVersion(ctx, templateRef(in.LaunchTemplateId, in.LaunchTemplateName), *in.DefaultVersion, ec2types.Value(in.ClientToken))
	return &ec2types.ModifyLaunchTemplateOutput{LaunchTemplate: launchTemplateOf(&t)}, err
}

func launchTemplateOf(t *model.LaunchTemplate) *ec2types.LaunchTemplate {
	return &ec2types.LaunchTemplate{
		CreateTime: ptr(t.Created), CreatedBy: ptr(t.CreatedBy), DefaultVersionNumber: ptr(t.Default), LatestVersionNumber: ptr(t.Latest),
		LaunchTemplateId: ptr(t.ID), LaunchTemplateName: ptr(t.Name), Tags: tagsOf(t.Tags),
	}
}

func templateVersionOf(t *model.LaunchTemplate, v *model.LaunchTemplateVersion) (*ec2types.LaunchTemplateVersion, error) {
	// Both shapes name their members alike.
	data := new(ec2types.ResponseLaunchTemplateData)
	if err := json.Unmarshal(v.Data, data); err != nil {
		return nil, fmt.Errorf("decoding version %d of launch template %s: %w", v.Number, t.ID, err)
	}
	return &ec2types.LaunchTemplateVersion{
		CreateTime: ptr(v.Created), CreatedBy: ptr(v.CreatedBy), DefaultVersion: ptr(v.Number == t.Default), LaunchTemplateData: data,
		LaunchTemplateId: ptr(t.ID), LaunchTemplateName: ptr(t.Name), VersionDescription: str(v.Description), VersionNumber: ptr(v.Number),
	}, nil
}

func (a *Actions) describeLaunchTemplates(ctx context.Context, in *ec2types.DescribeLaunchTemplatesInput) (*ec2types.DescribeLaunchTemplatesOutput, error) {
	var refs []cloud.TemplateRef
	for _, id := range in.LaunchTemplateIds {
		refs = append(refs, cloud.TemplateRef{ID: id})
	}
	for _, name := range in.LaunchTemplateNames {
		refs = append(refs, cloud.TemplateRef{Name: name})
	}
	all, err := a.account(ctx).LaunchTemplates(ctx, refs...)
	if err != nil {
		return nil, err
	}
	page, next, err := describe(a, query[model.LaunchTemplate]{
		action: "DescribeLaunchTemplates", all: all, kind: objectKind[model.LaunchTemplate]{id: func(t *model.LaunchTemplate) string { return t.ID }},
		filters: in.Filters, also: refs, max: in.MaxResults, token: in.NextToken, least: 1, most: maxTemplatePage,
		tags: func(t *model.LaunchTemplate) model.Tags { return t.Tags },
		fields: map[string]func(*model.LaunchTemplate) []string{
			"create-time":          func(t *model.LaunchTemplate) []string { return timeFilter(t.Created) },
			"launch-template-name": one(func(t *model.LaunchTemplate) string { return t.Name }),
		},
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeLaunchTemplatesOutput{NextToken: next}
	for i := range page {
		out.LaunchTemplates = append(out.LaunchTemplates, *launchTemplateOf(&page[i]))
	}
	return out, nil
}

// maxTemplatePage is the most templates, or versions, of a page.
const maxTemplatePage = 200

// describeLaunchTemplateVersions shows the versions of one template, or the latest
// and the default ones of all.
func (a *Actions) describeLaunchTemplateVersions(ctx context.Context, in *ec2types.DescribeLaunchTemplateVersionsInput) (*ec2types.DescribeLaunchTemplateVersionsOutput, error) {
	keep, err := versionRange(in)
	if err != nil {
		return nil, err
	}
	var refs []cloud.TemplateRef
	if ref := templateRef(in.LaunchTemplateId, in.LaunchTemplateName); ref != (cloud.TemplateRef{}) {
		refs = append(refs, ref)
	}
	acct := a.account(ctx)
	templates, err := acct.LaunchTemplates(ctx, refs...)
	if err != nil {
		return nil, err
	}
	var all []ec2types.LaunchTemplateVersion
	for i := range templates {
		t := &templates[i]
		versions, err := acct.LaunchTemplateVersions(ctx, t, in.Versions)
		if err != nil {
			return nil, err
		}
		for j := range versions {
			if keep != nil && !keep(t, &versions[j]) {
				continue
			}
			shown, err := templateVersionOf(t, &versions[j])
			if err != nil {
				return nil, err
			}
			all = append(all, *shown)
		}
	}
	if ec2types.Value(in.ResolveAlias) {
		if err := a.resolveAliases(ctx, all); err != nil {
			return nil, err
		}
	}
	page, next, err := describe(a, query[ec2types.LaunchTemplateVersion]{
		action: "DescribeLaunchTemplateVersions", all: all, kind: objectKind[ec2types.LaunchTemplateVersion]{id: templateVersionKey},
		filters: in.Filters, fields: templateVersionFields(), also: []any{refs, in.Versions, in.MinVersion, in.MaxVersion, in.ResolveAlias},
		max: in.MaxResults, token: in.NextToken, least: 1, most: maxTemplatePage,
	})
	return &ec2types.DescribeLaunchTemplateVersionsOutput{LaunchTemplateVersions: page, NextToken: next}, err
}

// resolveAliases shows the images that aliases mean now instead of the aliases. One
// that means nothing stays as it is.
func (a *Actions) resolveAliases(ctx context.Context, versions []ec2types.LaunchTemplateVersion) error {
	for _, v := range versions {
		if v.LaunchTemplateData.ImageId == nil {
			continue
		}
		id, err := a.resolveAlias(ctx, *v.LaunchTemplateData.ImageId)
		if err != nil && model.CodeOf(err) == "" {
			return err
		}
		v.LaunchTemplateData.ImageId = &id
	}
	return nil
}

func templateVersionKey(v *ec2types.LaunchTemplateVersion) string {
	return fmt.Sprintf("%s.%010d", *v.LaunchTemplateId, *v.VersionNumber)
}

// versionRange checks which versions are asked for, and returns what keeps those
// between two of them, nil to keep all.
func versionRange(in *ec2types.DescribeLaunchTemplateVersionsInput) (func(*model.LaunchTemplate, *model.LaunchTemplateVersion) bool, error) {
	if in.LaunchTemplateId == nil && in.LaunchTemplateName == nil {
		if len(in.Versions) == 0 {
			return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter LaunchTemplateId or LaunchTemplateName, or Versions with $Latest or $Default")
		}
		for _, v := range in.Versions {
			if v != "$Latest" && v != "$Default" {
				return nil, model.Errorf(model.CodeInvalidParameterCombination, "The version %s of every launch template: without LaunchTemplateId or LaunchTemplateName only $Latest and $Default can be asked for", v)
			}
		}
	}
	if in.MinVersion == nil && in.MaxVersion == nil {
		return nil, nil
	}
	if len(in.Versions) > 0 {
		return nil, model.Errorf(model.CodeInvalidParameterCombination, "Versions and MinVersion or MaxVersion cannot be used together")
	}
	bound := func(s *string, otherwise int64) (int64, error) {
		if s == nil {
			return otherwise, nil
		}
		n, err := strconv.ParseInt(*s, 10, 32)
		if err != nil || n < 1 {
			return 0, model.Errorf(model.CodeInvalidParameterValue, "The launch template version '%s' is not valid: it must be a number", *s)
		}
		return n, nil
	}
	low, err := bound(in.MinVersion, 1)
	if err != nil {
		return nil, err
	}
	high, err := bound(in.MaxVersion, 1<<31)
	if err != nil {
		return nil, err
	}
	return func(_ *model.LaunchTemplate, v *model.LaunchTemplateVersion) bool {
		return low <= v.Number && v.Number <= high
	}, nil
}

func templateVersionFields() map[string]func(*ec2types.LaunchTemplateVersion) []string {
	type version = ec2types.LaunchTemplateVersion
	text := func(get func(*ec2types.ResponseLaunchTemplateData) *string) func(*version) []string {
		return func(v *version) []string {
			if s := get(v.LaunchTemplateData); s != nil {
				return []string{*s}
			}
			return nil
		}
	}
	metadata := func(get func(*ec2types.LaunchTemplateInstanceMetadataOptions) *string) func(*version) []string {
		return text(func(d *ec2types.ResponseLaunchTemplateData) *string {
			if d.MetadataOptions == nil {
				return nil
			}
			return get(d.MetadataOptions)
		})
	}
	return map[string]func(*version) []string{
		"create-time": func(v *version) []string { return timeFilter(*v.CreateTime) },
		"ebs-optimized": func(v *version) []string {
			return []string{strconv.FormatBool(ec2types.Value(v.LaunchTemplateData.EbsOptimized))}
		},
		"http-endpoint":      metadata(func(m *ec2types.LaunchTemplateInstanceMetadataOptions) *string { return m.HttpEndpoint }),
		"image-id":           text(func(d *ec2types.ResponseLaunchTemplateData) *string { return d.ImageId }),
		"instance-type":      text(func(d *ec2types.ResponseLaunchTemplateData) *string { return d.InstanceType }),
		"is-default-version": func(v *version) []string { return []string{strconv.FormatBool(*v.DefaultVersion)} },
		"kernel-id":          text(func(d *ec2types.ResponseLaunchTemplateData) *string { return d.KernelId }),
		"ram-disk-id":        text(func(d *ec2types.ResponseLaunchTemplateData) *string { return d.RamDiskId }),
	}
}
