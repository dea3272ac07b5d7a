package cli_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

var made = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// registryTable is what the toy cloud has of registries and keys. A task's id, digest
// and image say what was asked for.
func registryTable(t *api.Table) {
	asked := func(direction, reference string, user, password *string, plain *bool, more ...string) bundttypes.RegistryTask {
		tls := "tls"
		if ec2types.Value(plain) {
			tls = "plain"
		}
		said := strings.Join(append([]string{direction, reference, ec2types.Value(user) + ":" + ec2types.Value(password), tls}, more...), ",")
		return bundttypes.RegistryTask{TaskId: "registry-task-" + said}
	}
	words := func(said *bool, word string) string {
		if ec2types.Value(said) {
			return word
		}
		return ""
	}
	register(t, "PushImage", []string{"ImageId", "Reference", "PlainHttp", "Username", "Password", "Sign", "ClientToken"}, func(in *bundttypes.PushImageInput) (*bundttypes.PushImageOutput, error) {
		return &bundttypes.PushImageOutput{Task: asked("push", *in.Reference, in.Username, in.Password, in.PlainHttp, words(in.Sign, "signed"))}, nil
	})
	register(t, "PullImage", []string{"Reference", "PlainHttp", "Username", "Password", "Name", "RequireSignature", "ClientToken"}, func(in *bundttypes.PullImageInput) (*bundttypes.PullImageOutput, error) {
		return &bundttypes.PullImageOutput{Task: asked("pull", *in.Reference, in.Username, in.Password, in.PlainHttp, words(in.RequireSignature, "required"), ec2types.Value(in.Name))}, nil
	})
	register(t, "DescribeRegistryTasks", []string{"TaskIds", "MaxResults", "NextToken"}, func(in *bundttypes.DescribeRegistryTasksInput) (*bundttypes.DescribeRegistryTasksOutput, error) {
		task := bundttypes.RegistryTask{
			TaskId: "registry-task-1", Direction: "push", State: "completed", Progress: 100, ImageId: "ami-1", Reference: "registry.example.com/web:1", SignedBy: "baker", CreatedAt: made,
		}
		if len(in.TaskIds) > 0 {
			said := strings.TrimPrefix(in.TaskIds[0], "registry-task-")
			task.TaskId, task.Digest, task.ImageId = in.TaskIds[0], "sha256:"+said, "ami-"+said
			if strings.Contains(said, "broken") {
				task.State, task.StateReason = "deleted", "the line broke"
			}
		}
		return &bundttypes.DescribeRegistryTasksOutput{Tasks: []bundttypes.RegistryTask{task}}, nil
	})
	register(t, "CancelRegistryTask", []string{"TaskId"}, func(*bundttypes.CancelRegistryTaskInput) (*bundttypes.CancelRegistryTaskOutput, error) {
		return nil, nil
	})
	register(t, "GetImageSigningKey", nil, func(*bundttypes.GetImageSigningKeyInput) (*bundttypes.ImageSigningKey, error) {
		return &bundttypes.ImageSigningKey{PublicKey: "public key of nobody\n"}, nil
	})
	register(t, "ImportImageSigningKey", []string{"KeyMaterial"}, func(in *bundttypes.ImportImageSigningKeyInput) (*bundttypes.ImageSigningKey, error) {
		return &bundttypes.ImageSigningKey{KeyId: fmt.Sprint("id of ", *in.KeyMaterial)}, nil
	})
	register(t, "TrustKey", []string{"Name", "PublicKey"}, func(*bundttypes.TrustKeyInput) (*bundttypes.TrustKeyOutput, error) { return nil, nil })
	register(t, "DistrustKey", []string{"Name"}, func(*bundttypes.DistrustKeyInput) (*bundttypes.DistrustKeyOutput, error) { return nil, nil })
	register(t, "DescribeTrustedKeys", nil, func(*bundttypes.DescribeTrustedKeysInput) (*bundttypes.DescribeTrustedKeysOutput, error) {
		return &bundttypes.DescribeTrustedKeysOutput{Keys: []bundttypes.TrustedKey{{Name: "baker", KeyId: "id", CreatedAt: made}}}, nil
	})
}
