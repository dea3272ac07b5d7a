package cli_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/model"
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

// marketTable is what the toy cloud has of publishers: two that offer a product of the
// same id, and one of the kind community.
func marketTable(t *api.Table) {
	offer := func(publisher, kind string, subscribed *time.Time) bundttypes.Product {
		return bundttypes.Product{
			ProductCode: "code-" + publisher, ProductId: "web", Publisher: publisher, Kind: kind, Title: "Web server", Price: "5 EUR", Terms: "Use it well.", TermsDigest: "sha256:terms",
			SubscribedAt: subscribed, Versions: []bundttypes.ProductVersion{{Version: "2.0", Architecture: "x86_64", Image: "registry.example.com/web@sha256:1"}},
		}
	}
	register(t, "DescribeProducts", []string{"Kind", "ProductCodes", "MaxResults", "NextToken"}, func(in *bundttypes.DescribeProductsInput) (*bundttypes.DescribeProductsOutput, error) {
		out := &bundttypes.DescribeProductsOutput{}
		for _, p := range []bundttypes.Product{offer("bakery", "market", &made), offer("mill", "market", nil), offer("neighbours", "community", nil)} {
			if k := ec2types.Value(in.Kind); k == "" || k == p.Kind {
				out.Products = append(out.Products, p)
			}
		}
		return out, nil
	})
	register(t, "SubscribeToProduct", []string{"ProductCode", "TermsDigest"}, func(in *bundttypes.SubscribeToProductInput) (*bundttypes.SubscribeToProductOutput, error) {
		if *in.TermsDigest != "sha256:terms" {
			return nil, model.Errorf("TermsChanged", "The terms are others")
		}
		return &bundttypes.SubscribeToProductOutput{}, nil
	})
	register(t, "UnsubscribeFromProduct", []string{"ProductCode"}, func(*bundttypes.UnsubscribeFromProductInput) (*bundttypes.UnsubscribeFromProductOutput, error) {
		return nil, nil
	})
	register(t, "PullProductImage", []string{"ProductCode", "Version", "Architecture"}, func(in *bundttypes.PullProductImageInput) (*bundttypes.PullProductImageOutput, error) {
		out := &bundttypes.PullProductImageOutput{ImageId: "ami-" + *in.ProductCode}
		if in.Version != nil {
			out.Task = &bundttypes.RegistryTask{TaskId: "registry-task-broken"}
		}
		return out, nil
	})
	register(t, "DescribePublishers", nil, func(*bundttypes.DescribePublishersInput) (*bundttypes.DescribePublishersOutput, error) {
		return &bundttypes.DescribePublishersOutput{Publishers: []bundttypes.Publisher{{
			Name: "bakery", State: "ready", Kind: "market", Url: "https://bakery.example.com/index", LookedAt: &made,
		}, {Name: "liar", State: "failed", StateReason: "not signed by a trusted key"}}}, nil
	})
	register(t, "AddPublisher", []string{"Name", "Url", "PublicKey", "PlainHttp"}, func(*bundttypes.AddPublisherInput) (*bundttypes.AddPublisherOutput, error) { return nil, nil })
	register(t, "RefreshPublisher", []string{"Name"}, func(*bundttypes.RefreshPublisherInput) (*bundttypes.RefreshPublisherOutput, error) { return nil, nil })
	register(t, "RemovePublisher", []string{"Name"}, func(*bundttypes.RemovePublisherInput) (*bundttypes.RemovePublisherOutput, error) { return nil, nil })
	register(t, "SignIndex", []string{"Index"}, func(in *bundttypes.SignIndexInput) (*bundttypes.SignIndexOutput, error) {
		return &bundttypes.SignIndexOutput{Bundle: "signed " + *in.Index}, nil
	})
}
