package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/auth/policy"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// AWSAccount stands in place of an account's id in the ARNs of policies that
// every account has.
const AWSAccount = "aws"

// builtIn are the managed policies that every account has, under the names that
// AWS gives to policies of the same effect.
var builtIn = []model.ManagedPolicy{
	builtInPolicy("AdministratorAccess", "Everything.", `{"Effect": "Allow", "Action": "*", "Resource": "*"}`),
	builtInPolicy("PowerUserAccess", "Everything but accounts, users and policies.",
		`{"Effect": "Allow", "NotAction": ["iam:*", "account:*", "bundt:CreateAccount", "bundt:DeleteAccount", "bundt:ModifyAccount*"], "Resource": "*"}`),
	builtInPolicy("ReadOnlyAccess", "Reading everything that is no secret.",
		`{"Effect": "Allow", "Action": ["ec2:Describe*", "ec2:GetConsole*", "ec2:GetLaunchTemplateData", "bundt:Describe*", "bundt:Watch*", "iam:Get*", "iam:List*", "iam:Simulate*", "ssm:Get*", "sts:GetCallerIdentity"], "Resource": "*"}`),
	builtInPolicy("AmazonEC2FullAccess", "Every action of EC2, and baking images.",
		`{"Effect": "Allow", "Action": ["ec2:*", "bundt:BuildImage", "bundt:ClearBuildCache", "bundt:CreateImagePipeline", "bundt:UpdateImagePipeline", "bundt:DeleteImagePipeline", "bundt:StartImagePipelineExecution", "bundt:RetryImageDistribution", "bundt:PushImage", "bundt:PullImage", "bundt:CancelRegistryTask", "bundt:Upload", "bundt:Connect", "bundt:ConnectSerial", "bundt:Describe*", "bundt:Watch*"], "Resource": "*"}`),
	builtInPolicy("AmazonEC2ReadOnlyAccess", "Reading what EC2 has.",
		`{"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}`),
	builtInPolicy("IAMFullAccess", "Users, access keys, roles and policies.",
		`{"Effect": "Allow", "Action": "iam:*", "Resource": "*"}`),
	builtInPolicy("IAMReadOnlyAccess", "Reading users, roles and policies.",
		`{"Effect": "Allow", "Action": ["iam:Get*", "iam:List*", "iam:Simulate*"], "Resource": "*"}`),
}

func builtInPolicy(name, description, statement string) model.ManagedPolicy {
	// A policy has been there ever since its document is this.
	born := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	return model.ManagedPolicy{
		ID: model.ManagedPolicyIDPrefix + fmt.Sprintf("%-17.17s", strings.ToUpper(name)+strings.Repeat("A", 17)), AccountID: AWSAccount, Name: name, Path: "/", Description: description,
		Versions: []model.PolicyVersion{{ID: "v1", Document: `{"Version": "2012-10-17", "Statement": [` + statement + `]}`, Created: born}},
		Default:  "v1", NextVersion: 2, Created: born, Updated: born,
	}
}

// managed returns the policy of an ARN that an account can use: its own, or one
// that every account has.
func managed(tx *store.Tx, account, arn string) (model.ManagedPolicy, error) {
	none := model.Errorf(CodeNoSuchEntity, "Policy %s does not exist or is not attachable.", arn)
	owner, kind, path, name, err := SplitARN(arn)
	if err != nil {
		return model.ManagedPolicy{}, err
	}
	switch {
	case kind != "policy":
		return model.ManagedPolicy{}, model.Errorf(CodeInvalidInput, "ARN %s is not valid.", arn)
	case owner == AWSAccount:
		i := slices.IndexFunc(builtIn, func(p model.ManagedPolicy) bool { return p.ARN() == arn })
		if i < 0 {
			return model.ManagedPolicy{}, none
		}
		return builtIn[i], nil
	case owner != account:
		return model.ManagedPolicy{}, none
	}
	p, err := records.Policies.Get(tx, records.IAMKey(owner, name))
	if errors.Is(err, store.ErrNotFound) || (err == nil && p.Path != path) {
		return p, none
	}
	return p, err
}

// CreatePolicy makes a managed policy with a first version.
func (d *Directory) CreatePolicy(ctx context.Context, account, name, path, description, document string, tags model.Tags) (p model.ManagedPolicy, err error) {
	if err := errors.Join(checkName("policyName", name, maxPolicyName), checkTags(tags)); err != nil {
		return p, err
	}
	if path, err = checkPath(path); err != nil {
		return p, err
	}
	if len(description) > maxDescription {
		return p, model.Errorf(CodeValidationError, "The specified value for description has more than %d characters", maxDescription)
	}
	if _, err := checkDocument(document, policy.Identity, maxManaged); err != nil {
		return p, err
	}
	now := d.Now()
	p = model.ManagedPolicy{
		ID: model.NewIAMID(model.ManagedPolicyIDPrefix), AccountID: account, Name: name, Path: path, Description: description, Tags: tags,
		Versions: []model.PolicyVersion{{ID: "v1", Document: document, Created: now}}, Default: "v1", NextVersion: 2, Created: now, Updated: now,
	}
	return p, d.update(ctx, func(tx *store.Tx) error {
		exists, err := records.Policies.Exists(tx, records.IAMKey(account, name))
		if exists {
			return model.Errorf(CodeEntityAlreadyExists, "A policy called %s already exists. Duplicate names are not allowed.", name)
		}
		return errors.Join(err, records.Policies.Put(tx, &p))
	})
}

// Policy returns a managed policy by its ARN.
func (d *Directory) Policy(ctx context.Context, account, arn string) (model.ManagedPolicy, error) {
	return view(ctx, d, func(tx *store.Tx) (model.ManagedPolicy, error) { return managed(tx, account, arn) })
}

// ManagedPolicies returns the policies that an account can use, its own first,
// and how many users and roles are attached to each, by ARN.
func (d *Directory) ManagedPolicies(ctx context.Context, account string) (all []model.ManagedPolicy, attachments map[string]int, err error) {
	err = d.store.View(ctx, func(tx *store.Tx) error {
		if all, err = records.Policies.ListPrefix(tx, account+"."); err != nil {
			return err
		}
		attachments, err = countAttachments(tx, account)
		return err
	})
	return append(all, builtIn...), attachments, err
}

func countAttachments(tx *store.Tx, account string) (map[string]int, error) {
	users, err := records.Users.ListPrefix(tx, account+".")
	if err != nil {
		return nil, err
	}
	roles, err := records.Roles.ListPrefix(tx, account+".")
	if err != nil {
		return nil, err
	}
	count := map[string]int{}
	for _, u := range users {
		for _, arn := range u.Policies.Attached {
			count[arn]++
		}
	}
	for _, r := range roles {
		for _, arn := range r.Policies.Attached {
			count[arn]++
		}
	}
	return count, nil
}

// changePolicy changes an account's own policy in one transaction.
func (d *Directory) changePolicy(ctx context.Context, account, arn string, change func(tx *store.Tx, p *model.ManagedPolicy) error) error {
	return d.update(ctx, func(tx *store.Tx) error {
		p, err := managed(tx, account, arn)
		if err != nil {
			return err
		}
		if p.AccountID == AWSAccount {
			return model.Errorf(CodeAccessDenied, "The policy %s belongs to every account and cannot be changed", arn)
		}
		return change(tx, &p)
	})
}

// AddPolicyVersion gives a policy another version, and puts it in force if asked to.
func (d *Directory) AddPolicyVersion(ctx context.Context, account, arn, document string, asDefault bool) (v model.PolicyVersion, err error) {
	if _, err := checkDocument(document, policy.Identity, maxManaged); err != nil {
		return v, err
	}
	err = d.changePolicy(ctx, account, arn, func(tx *store.Tx, p *model.ManagedPolicy) error {
		if len(p.Versions) >= maxVersions {
			return model.Errorf(CodeLimitExceeded, "A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", maxVersions)
		}
		v = model.PolicyVersion{ID: fmt.Sprintf("v%d", p.NextVersion), Document: document, Created: d.Now()}
		p.Versions, p.NextVersion, p.Updated = append(p.Versions, v), p.NextVersion+1, d.Now()
		if asDefault {
			p.Default = v.ID
		}
		return records.Policies.Put(tx, p)
	})
	return v, err
}

// noVersion is the error of a version that a policy does not have.
func noVersion(arn, version string) *model.Error {
	return model.Errorf(CodeNoSuchEntity, "Policy %s version %s does not exist or is not attachable.", arn, version)
}

// SetDefaultPolicyVersion puts a version of a policy in force.
func (d *Directory) SetDefaultPolicyVersion(ctx context.Context, account, arn, version string) error {
	return d.changePolicy(ctx, account, arn, func(tx *store.Tx, p *model.ManagedPolicy) error {
		if _, ok := p.Version(version); !ok || version == "" {
			return noVersion(arn, version)
		}
		p.Default, p.Updated = version, d.Now()
		return records.Policies.Put(tx, p)
	})
}

// DeletePolicyVersion deletes a version that is not in force.
func (d *Directory) DeletePolicyVersion(ctx context.Context, account, arn, version string) error {
	return d.changePolicy(ctx, account, arn, func(tx *store.Tx, p *model.ManagedPolicy) error {
		if _, ok := p.Version(version); !ok || version == "" {
			return noVersion(arn, version)
		}
		if version == p.Default {
			return model.Errorf(CodeDeleteConflict, "Cannot delete the default version of a policy.")
		}
		p.Versions = slices.DeleteFunc(p.Versions, func(v model.PolicyVersion) bool { return v.ID == version })
		p.Updated = d.Now()
		return records.Policies.Put(tx, p)
	})
}

// PolicyVersion returns a version of a policy; "" stands for the one in force.
func (d *Directory) PolicyVersion(ctx context.Context, account, arn, version string) (model.ManagedPolicy, model.PolicyVersion, error) {
	p, err := d.Policy(ctx, account, arn)
	if err != nil {
		return p, model.PolicyVersion{}, err
	}
	v, ok := p.Version(version)
	if !ok {
		return p, v, noVersion(arn, version)
	}
	return p, v, nil
}

// DeletePolicy deletes a policy that nobody is attached to and that has one version.
func (d *Directory) DeletePolicy(ctx context.Context, account, arn string) error {
	return d.changePolicy(ctx, account, arn, func(tx *store.Tx, p *model.ManagedPolicy) error {
		count, err := countAttachments(tx, account)
		switch {
		case err != nil:
			return err
		case count[arn] > 0:
			return model.Errorf(CodeDeleteConflict, "Cannot delete a policy attached to entities.")
		case len(p.Versions) > 1:
			return model.Errorf(CodeDeleteConflict, "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
		}
		return records.Policies.Delete(tx, records.IAMKey(account, p.Name))
	})
}
