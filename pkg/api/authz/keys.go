package authz

import (
	"context"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

// conditionKey is a key with its values.
type conditionKey struct {
	name   string
	values []string
}

// conditionKeys are those of one check. What must be read from the store is read
// when a policy first asks for it.
type conditionKeys struct {
	keys   []conditionKey
	lookUp func() (cloud.Attributes, bool, error) // nil for what has no attributes
	kind   string
	read   bool
	err    error
	// templateARN is the ARN of a launch template of the caller's account.
	templateARN func(id string) string
}

func (k *conditionKeys) add(name string, values ...string) {
	k.keys = append(k.keys, conditionKey{name, values})
}

// keys collects the condition keys of a check.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
func (a *Authorizer) keys(ctx context.Context, call *api.Call, c *check) *conditionKeys {
	k := &conditionKeys{kind: c.kind}
	id, now := &call.Principal.Identity, a.directory.Now()
	k.add("aws:CurrentTime", now.Format(time.RFC3339))
	k.add("aws:EpochTime", strconv.FormatInt(now.Unix(), 10))
	k.add("aws:PrincipalArn", id.PrincipalARN())
	k.add("aws:PrincipalAccount", id.AccountID)
	k.add("aws:PrincipalType", principalType(id))
	k.add("aws:userid", id.UserID())
	if id.User != "" {
		k.add("aws:username", id.User)
	}
	if !id.Issued.IsZero() {
		k.add("aws:TokenIssueTime", id.Issued.Format(time.RFC3339))
	}
	k.add("aws:RequestedRegion", a.directory.Region())
	k.add("aws:SecureTransport", strconv.FormatBool(call.Origin.TLS))
	if call.Origin.Address.IsValid() {
		k.add("aws:SourceIp", call.Origin.Address.Unmap().String())
	}
	if call.Origin.UserAgent != "" {
		k.add("aws:UserAgent", call.Origin.UserAgent)
	}
	k.requestTags(requestTags(call, c))
	if ServiceOf(c.action) == "ec2" {
		k.add("ec2:Region", a.directory.Region())
		k.templateARN = func(lt string) string { return a.arn(id.AccountID, "launch-template", lt) }
		k.ec2(call, c)
	}
	k.keys = append(k.keys, c.extra...)
	if c.ref != "" {
		k.lookUp = func() (cloud.Attributes, bool, error) { return a.objects(ctx, id.AccountID, c.ref) }
	}
	return k
}

func principalType(id *model.Identity) string {
	switch {
	case id.User != "":
		return "User"
	case id.Role != "":
		return "AssumedRole"
	}
	return "Account"
}

// requestTags are the tags that the request sets on the resource of a check.
func requestTags(call *api.Call, c *check) []ec2types.Tag {
	for _, s := range tagSpecifications(call.Input) {
		// A key pair has its name before it is made.
		if ec2types.Value(s.ResourceType) == c.kind && (c.ref == "" || c.kind == "key-pair") {
			return s.Tags
		}
	}
	f := member(call.Input, "Tags")
	if !f.IsValid() || f.Kind() != reflect.Slice {
		return nil
	}
	var tags []ec2types.Tag
	for i := range f.Len() { // IAM's tags are of another type
		v := f.Index(i).Addr().Interface()
		tags = append(tags, ec2types.Tag{Key: new(text(v, "Key")), Value: new(text(v, "Value"))})
	}
	return tags
}

func (k *conditionKeys) requestTags(tags []ec2types.Tag) {
	if len(tags) == 0 {
		return
	}
	var names []string
	for _, t := range tags {
		names = append(names, ec2types.Value(t.Key))
		k.add("aws:RequestTag/"+ec2types.Value(t.Key), ec2types.Value(t.Value))
	}
	k.add("aws:TagKeys", names...)
}

// ec2 adds what the request itself says of the resource.
func (k *conditionKeys) ec2(call *api.Call, c *check) {
	if c.ref != "" && c.kind == "image" {
		k.add("ec2:ImageID", c.ref)
	}
	made := c.ref == ""
	switch in := call.Input.(type) {
	case *ec2types.RunInstancesInput:
		k.template(call, in, c)
		if !made || c.kind != "instance" {
			return
		}
		// A launch template that could not be read might say it: then the key is
		// absent, and the call fails in any case.
		unknown := in.LaunchTemplate != nil && call.Asked == nil
		if t := ec2types.Value(in.InstanceType); t != "" {
			k.add("ec2:InstanceType", t)
		} else if !unknown {
			k.add("ec2:InstanceType", model.DefaultInstanceType)
		}
		if id := ec2types.Value(in.ImageId); id != "" {
			k.add("ec2:ImageID", id)
		}
		k.metadata(in.MetadataOptions, unknown)
	case *ec2types.CreateVolumeInput:
		if made && c.kind == "volume" && in.Size != nil {
			k.add("ec2:VolumeSize", strconv.Itoa(int(*in.Size)))
		}
		if made && c.kind == "volume" && in.VolumeType != nil {
			k.add("ec2:VolumeType", *in.VolumeType)
		}
	}
}

// metadata adds the options of the metadata service that a launch asks for, or
// gets without asking; with unknown only what it asks for is known.
func (k *conditionKeys) metadata(o *ec2types.InstanceMetadataOptionsRequest, unknown bool) {
	if o == nil {
		o = &ec2types.InstanceMetadataOptionsRequest{}
	}
	option := func(name string, value *string, otherwise string) {
		switch {
		case value != nil:
			k.add(name, *value)
		case !unknown:
			k.add(name, otherwise)
		}
	}
	option("ec2:MetadataHttpTokens", o.HttpTokens, "optional")
	option("ec2:MetadataHttpEndpoint", o.HttpEndpoint, "enabled")
	if o.HttpPutResponseHopLimit != nil {
		k.add("ec2:MetadataHttpPutResponseHopLimit", strconv.Itoa(int(*o.HttpPutResponseHopLimit)))
	}
}

// lookup returns the values of a key, given in lower case.
func (k *conditionKeys) lookup(key string) ([]string, bool) {
	if v, ok := k.find(key); ok {
		return v, true
	}
	if k.lookUp == nil || k.read || !k.ofObject(key) {
		return nil, false
	}
	k.read = true
	a, ok, err := k.lookUp()
	if err != nil || !ok {
		k.err = err
		return nil, false
	}
	k.object(a)
	return k.find(key)
}

func (k *conditionKeys) find(key string) ([]string, bool) {
	for i := range k.keys {
		if strings.EqualFold(k.keys[i].name, key) {
			return k.keys[i].values, true
		}
	}
	return nil, false
}

// ofObject reports whether a key is one that object may add.
func (k *conditionKeys) ofObject(key string) bool {
	return strings.HasPrefix(key, "aws:resourcetag/") || strings.HasPrefix(key, "ec2:resourcetag/") ||
		key == "ec2:owner" || key == "ec2:instancetype" || key == "ec2:imageid" || key == "aws:resourceaccount"
}

// object adds what an existing resource is like.
func (k *conditionKeys) object(a cloud.Attributes) {
	for name, value := range a.Tags {
		k.add("aws:ResourceTag/"+name, value)
		k.add("ec2:ResourceTag/"+name, value)
	}
	k.add("aws:ResourceAccount", a.Owner)
	if k.kind == "image" || k.kind == "snapshot" {
		k.add("ec2:Owner", a.Owner)
	}
	if a.Type != "" {
		k.add("ec2:InstanceType", a.Type)
	}
	if a.Image != "" {
		k.add("ec2:ImageID", a.Image)
	}
}

// shown are all keys, for the message of a refusal.
func (k *conditionKeys) shown() []conditionKey {
	if k.lookUp != nil && !k.read {
		k.read = true
		if a, ok, err := k.lookUp(); err == nil && ok {
			k.object(a)
		}
	}
	return k.keys
}
