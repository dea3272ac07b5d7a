package actions

import (
	"context"
	"slices"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
)

func (a *Actions) registerKeys(t *api.Table) {
	api.Register(t, api.Action[ec2types.CreateKeyPairInput, ec2types.CreateKeyPairOutput]{
		Name: "CreateKeyPair", Handler: a.createKeyPair, Acts: []string{"KeyName", "KeyType", "KeyFormat", "TagSpecifications"},
	})
	api.Register(t, api.Action[ec2types.ImportKeyPairInput, ec2types.ImportKeyPairOutput]{
		Name: "ImportKeyPair", Handler: a.importKeyPair, Acts: []string{"KeyName", "PublicKeyMaterial", "TagSpecifications"},
	})
	api.Register(t, api.Action[ec2types.DescribeKeyPairsInput, ec2types.DescribeKeyPairsOutput]{
		Name: "DescribeKeyPairs", Handler: a.describeKeyPairs, Acts: []string{"KeyNames", "KeyPairIds", "Filters", "IncludePublicKey"},
	})
	api.Register(t, api.Action[ec2types.DeleteKeyPairInput, ec2types.DeleteKeyPairOutput]{
		Name: "DeleteKeyPair", Handler: a.deleteKeyPair, Acts: []string{"KeyName", "KeyPairId"},
	})
}

func (a *Actions) createKeyPair(ctx context.Context, in *ec2types.CreateKeyPairInput) (*ec2types.CreateKeyPairOutput, error) {
	tags, err := tagSpecs(in.TagSpecifications, "key-pair")
	if err != nil {
		return nil, err
	}
	switch f := ec2types.Value(in.KeyFormat); f {
	case "", "pem":
	case "ppk":
		return nil, model.Errorf(model.CodeUnsupportedOperation, "The key format ppk is not supported").
			WithHint("take pem, and convert it: puttygen key.pem -o key.ppk")
	default:
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Value (%s) for parameter KeyFormat is invalid: must be pem", f)
	}
	k, private, err := a.account(ctx).CreateKeyPair(ctx, ec2types.Value(in.KeyName), ec2types.Value(in.KeyType), tags["key-pair"])
	if err != nil {
		return nil, err
	}
	return &ec2types.CreateKeyPairOutput{
		KeyFingerprint: ptr(k.Fingerprint), KeyMaterial: ptr(string(private)), KeyName: ptr(k.Name), KeyPairId: ptr(k.ID), Tags: tagsOf(k.Tags),
	}, nil
}

func (a *Actions) importKeyPair(ctx context.Context, in *ec2types.ImportKeyPairInput) (*ec2types.ImportKeyPairOutput, error) {
	tags, err := tagSpecs(in.TagSpecifications, "key-pair")
	if err != nil {
		return nil, err
	}
	k, err := a.account(ctx).ImportKeyPair(ctx, ec2types.Value(in.KeyName), in.PublicKeyMaterial, tags["key-pair"])
	if err != nil {
		return nil, err
	}
	return &ec2types.ImportKeyPairOutput{KeyFingerprint: ptr(k.Fingerprint), KeyName: ptr(k.Name), KeyPairId: ptr(k.ID), Tags: tagsOf(k.Tags)}, nil
}

func (a *Actions) describeKeyPairs(ctx context.Context, in *ec2types.DescribeKeyPairsInput) (*ec2types.DescribeKeyPairsOutput, error) {
	all, err := a.account(ctx).KeyPairs(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range in.KeyNames {
		if !slices.ContainsFunc(all, func(k model.KeyPair) bool { return k.Name == name }) {
			return nil, model.Errorf(model.CodeKeyPairNotFound, "The key pair '%s' does not exist", name)
		}
	}
	if err := keyKind.check(in.KeyPairIds, func(id string) bool {
		return slices.ContainsFunc(all, func(k model.KeyPair) bool { return k.ID == id })
	}); err != nil {
		return nil, err
	}
	if len(in.KeyNames) > 0 {
		all = slices.DeleteFunc(all, func(k model.KeyPair) bool {
			return !slices.Contains(in.KeyNames, k.Name) && !slices.Contains(in.KeyPairIds, k.ID)
		})
		in.KeyPairIds = nil
	}
	page, _, err := describe(a, query[model.KeyPair]{
		action: "DescribeKeyPairs", all: all, ids: in.KeyPairIds, kind: keyKind, filters: in.Filters,
		fields: map[string]func(*model.KeyPair) []string{
			"fingerprint": func(k *model.KeyPair) []string { return []string{k.Fingerprint} },
			"key-name":    func(k *model.KeyPair) []string { return []string{k.Name} },
			"key-pair-id": func(k *model.KeyPair) []string { return []string{k.ID} },
		},
		tags: func(k *model.KeyPair) model.Tags { return k.Tags },
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeKeyPairsOutput{}
	for i := range page {
		k := &page[i]
		info := ec2types.KeyPairInfo{
			CreateTime: ptr(k.Created), KeyFingerprint: ptr(k.Fingerprint), KeyName: ptr(k.Name), KeyPairId: ptr(k.ID), KeyType: ptr(k.Type), Tags: tagsOf(k.Tags),
		}
		if ec2types.Value(in.IncludePublicKey) {
			info.PublicKey = ptr(k.PublicKey)
		}
		out.KeyPairs = append(out.KeyPairs, info)
	}
	return out, nil
}

func (a *Actions) deleteKeyPair(ctx context.Context, in *ec2types.DeleteKeyPairInput) (*ec2types.DeleteKeyPairOutput, error) {
	name, id := ec2types.Value(in.KeyName), ec2types.Value(in.KeyPairId)
	if name == "" && id == "" {
		return nil, model.Errorf(model.CodeMissingParameter, "The request must contain the parameter KeyName or KeyPairId")
	}
	if id != "" {
		if err := keyKind.check([]string{id}, func(string) bool { return true }); err != nil {
			return nil, err
		}
	}
	deleted, err := a.account(ctx).DeleteKeyPair(ctx, name, id)
	return &ec2types.DeleteKeyPairOutput{Return: ptr(err == nil), KeyPairId: str(deleted)}, err
}
