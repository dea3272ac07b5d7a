package identity

import (
	"context"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ststypes"
	"github.com/bundt/bundt/pkg/auth"
	"github.com/bundt/bundt/pkg/model"
)

// How long temporary credentials last if the request does not say.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html
const (
	defaultSession = 12 * time.Hour
	maxRootSession = time.Hour
	defaultRole    = time.Hour
)

// RegisterSTS adds STS's actions to a table.
func (a *Actions) RegisterSTS(t *api.Table) {
	add(t, "GetCallerIdentity", a.getCallerIdentity)
	add(t, "GetSessionToken", a.getSessionToken, "DurationSeconds")
	add(t, "AssumeRole", a.assumeRole, "RoleArn", "RoleSessionName", "DurationSeconds", "Policy", "ExternalId")
	add(t, "DecodeAuthorizationMessage", a.decodeAuthorizationMessage, "EncodedMessage")
}

func (a *Actions) getCallerIdentity(ctx context.Context, _ *ststypes.GetCallerIdentityInput) (*ststypes.GetCallerIdentityOutput, error) {
	id := caller(ctx)
	return &ststypes.GetCallerIdentityOutput{Account: &id.AccountID, Arn: new(id.ARN()), UserId: new(id.UserID())}, nil
}

func (a *Actions) getSessionToken(ctx context.Context, in *ststypes.GetSessionTokenInput) (*ststypes.GetSessionTokenOutput, error) {
	id := caller(ctx)
	if id.Role != "" || !id.Expires.IsZero() {
		return nil, model.Errorf(auth.CodeAccessDenied, "Cannot call GetSessionToken with session credentials")
	}
	lifetime := defaultSession
	if in.DurationSeconds != nil {
		lifetime = time.Duration(*in.DurationSeconds) * time.Second
	}
	if id.IsRoot() { // as on AWS, which shortens without saying so
		lifetime = min(lifetime, maxRootSession)
	}
	c, err := a.directory.NewSession(id, lifetime)
	return &ststypes.GetSessionTokenOutput{Credentials: credentialsShape(c)}, err
}

func (a *Actions) assumeRole(ctx context.Context, in *ststypes.AssumeRoleInput) (*ststypes.AssumeRoleOutput, error) {
	lifetime := defaultRole
	if in.DurationSeconds != nil {
		lifetime = time.Duration(*in.DurationSeconds) * time.Second
	}
	if caller(ctx).Role != "" && lifetime > time.Hour {
		return nil, model.Errorf(auth.CodeValidationError, "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	}
	c, id, err := a.directory.Assume(ctx, value(in.RoleArn), value(in.RoleSessionName), value(in.Policy), lifetime)
	if err != nil {
		return nil, err
	}
	return &ststypes.AssumeRoleOutput{
		AssumedRoleUser: &ststypes.AssumedRoleUser{Arn: new(id.ARN()), AssumedRoleId: new(id.UserID())},
		Credentials:     credentialsShape(c),
	}, nil
}

func credentialsShape(c auth.Credentials) *ststypes.Credentials {
	return &ststypes.Credentials{AccessKeyId: &c.AccessKeyID, SecretAccessKey: &c.Secret, SessionToken: &c.Token, Expiration: &c.Expires}
}

func (a *Actions) decodeAuthorizationMessage(_ context.Context, in *ststypes.DecodeAuthorizationMessageInput) (*ststypes.DecodeAuthorizationMessageOutput, error) {
	text, err := a.directory.DecodeMessage(value(in.EncodedMessage))
	return &ststypes.DecodeAuthorizationMessageOutput{DecodedMessage: &text}, err
}
