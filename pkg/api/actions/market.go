package actions

import (
	"context"
	"slices"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

var productKind = objectKind[cloud.OfferedProduct]{
	func(p *cloud.OfferedProduct) string { return p.Code }, func(string) bool { return true }, "", "Product.NotFound", "product",
}

// registerMarket registers the actions on publishers and their products.
func (a *Actions) registerMarket(t *api.Table) {
	api.Register(t, api.Action[bundttypes.AddPublisherInput, bundttypes.AddPublisherOutput]{
		Name: "AddPublisher", Acts: []string{"Name", "Url", "PlainHttp", "PublicKey"},
		Handler: func(ctx context.Context, in *bundttypes.AddPublisherInput) (*bundttypes.AddPublisherOutput, error) {
			p, err := a.account(ctx).AddPublisher(ctx, cloud.PublisherRequest{
				Name: ec2types.Value(in.Name), URL: ec2types.Value(in.Url), PlainHTTP: ec2types.Value(in.PlainHttp), PublicKey: ec2types.Value(in.PublicKey),
			})
			return &bundttypes.AddPublisherOutput{Publisher: publisherOf(&p)}, err
		},
	})
	api.Register(t, api.Action[bundttypes.RefreshPublisherInput, bundttypes.RefreshPublisherOutput]{
		Name: "RefreshPublisher", Acts: []string{"Name"},
		Handler: func(ctx context.Context, in *bundttypes.RefreshPublisherInput) (*bundttypes.RefreshPublisherOutput, error) {
			p, err := a.account(ctx).RefreshPublisher(ctx, ec2types.Value(in.Name))
			return &bundttypes.RefreshPublisherOutput{Publisher: publisherOf(&p)}, err
		},
	})
	api.Register(t, api.Action[bundttypes.RemovePublisherInput, bundttypes.RemovePublisherOutput]{
		Name: "RemovePublisher", Acts: []string{"Name"},
		Handler: func(ctx context.Context, in *bundttypes.RemovePublisherInput) (*bundttypes.RemovePublisherOutput, error) {
			return &bundttypes.RemovePublisherOutput{}, a.account(ctx).RemovePublisher(ctx, ec2types.Value(in.Name))
		},
	})
	api.Register(t, api.Action[bundttypes.DescribePublishersInput, bundttypes.DescribePublishersOutput]{
		Name: "DescribePublishers",
		Handler: func(ctx context.Context, _ *bundttypes.DescribePublishersInput) (*bundttypes.DescribePublishersOutput, error) {
			all, err := a.account(ctx).Publishers(ctx)
			out := &bundttypes.DescribePublishersOutput{}
			for i := range all {
				out.Publishers = append(out.Publishers, publisherOf(&all[i]))
			}
			return out, err
		},
	})
	api.Register(t, api.Action[bundttypes.SignIndexInput, bundttypes.SignIndexOutput]{
		Name: "SignIndex", Acts: []string{"Index"},
		Handler: func(ctx context.Context, in *bundttypes.SignIndexInput) (*bundttypes.SignIndexOutput, error) {
			bundle, err := a.account(ctx).SignIndex(ctx, []byte(ec2types.Value(in.Index)))
			return &bundttypes.SignIndexOutput{Bundle: string(bundle)}, err
		},
	})
	a.registerProducts(t)
}

func (a *Actions) registerProducts(t *api.Table) {
	api.Register(t, api.Action[bundttypes.DescribeProductsInput, bundttypes.DescribeProductsOutput]{
		Name: "DescribeProducts", Handler: a.describeProducts, Acts: []string{"Kind", "ProductCodes", "MaxResults", "NextToken"},
	})
	api.Register(t, api.Action[bundttypes.SubscribeToProductInput, bundttypes.SubscribeToProductOutput]{
		Name: "SubscribeToProduct", Acts: []string{"ProductCode", "TermsDigest"},
		Handler: func(ctx context.Context, in *bundttypes.SubscribeToProductInput) (*bundttypes.SubscribeToProductOutput, error) {
			s, err := a.account(ctx).Subscribe(ctx, ec2types.Value(in.ProductCode), ec2types.Value(in.TermsDigest))
			return &bundttypes.SubscribeToProductOutput{SubscribedAt: s.Accepted}, err
		},
	})
	api.Register(t, api.Action[bundttypes.UnsubscribeFromProductInput, bundttypes.UnsubscribeFromProductOutput]{
		Name: "UnsubscribeFromProduct", Acts: []string{"ProductCode"},
		Handler: func(ctx context.Context, in *bundttypes.UnsubscribeFromProductInput) (*bundttypes.UnsubscribeFromProductOutput, error) {
			return &bundttypes.UnsubscribeFromProductOutput{}, a.account(ctx).Unsubscribe(ctx, ec2types.Value(in.ProductCode))
		},
	})
	api.Register(t, api.Action[bundttypes.PullProductImageInput, bundttypes.PullProductImageOutput]{
		Name: "PullProductImage", Acts: []string{"ProductCode", "Version", "Architecture"},
		Handler: func(ctx context.Context, in *bundttypes.PullProductImageInput) (*bundttypes.PullProductImageOutput, error) {
			id, task, err := a.account(ctx).PullProductImage(ctx, cloud.ProductImageRequest{
				Code: ec2types.Value(in.ProductCode), Version: ec2types.Value(in.Version), Arch: model.Arch(ec2types.Value(in.Architecture)),
			})
			out := &bundttypes.PullProductImageOutput{ImageId: id}
			if task != nil {
				out.Task = ptr(registryTaskOf(task))
			}
			return out, err
		},
	})
}

// offerKind is what indexes call their kinds.
func offerKind(community bool) string {
	if community {
		return "community"
	}
	return "market"
}

func (a *Actions) describeProducts(ctx context.Context, in *bundttypes.DescribeProductsInput) (*bundttypes.DescribeProductsOutput, error) {
	kind := ec2types.Value(in.Kind)
	if !slices.Contains([]string{"", offerKind(true), offerKind(false)}, kind) {
		return nil, model.Errorf(model.CodeInvalidParameterValue, "Kind %q is neither market nor community", kind)
	}
	all, err := a.account(ctx).Products(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(p cloud.OfferedProduct) bool { return kind != "" && kind != offerKind(p.Community) })
	page, next, err := describe(a, query[cloud.OfferedProduct]{
		action: "DescribeProducts", all: all, ids: in.ProductCodes, kind: productKind, also: kind, max: in.MaxResults, token: in.NextToken, least: 1, most: 1000,
	})
	if err != nil {
		return nil, err
	}
	out := &bundttypes.DescribeProductsOutput{NextToken: next}
	for i := range page {
		out.Products = append(out.Products, offeredOf(&page[i]))
	}
	return out, nil
}

func publisherOf(p *model.Publisher) bundttypes.Publisher {
	return bundttypes.Publisher{
		CreatedAt: p.Created, KeyId: p.KeyID, Kind: offerKind(p.Community), LookedAt: some(p.Looked), Name: p.Name, Serial: p.Serial,
		State: string(p.State), StateReason: p.Message, Title: p.Title, Url: p.URL,
	}
}

func offeredOf(p *cloud.OfferedProduct) bundttypes.Product {
	out := bundttypes.Product{
		Description: p.Description, Kind: offerKind(p.Community), Price: p.Price, ProductCode: p.Code, ProductId: p.ProductID, Publisher: p.Publisher,
		Support: p.Support, Terms: p.Terms, TermsDigest: p.TermsDigest, Title: p.Title, Website: p.Website,
	}
	if p.Subscription != nil {
		out.SubscribedAt = &p.Subscription.Accepted
	}
	for _, v := range p.Versions {
		out.Versions = append(out.Versions, bundttypes.ProductVersion{
			Architecture: string(v.Arch), Image: v.Image, ImageId: v.ImageID, Notes: v.Notes, ReleasedAt: v.Released, SizeGiB: v.SizeGiB, Version: v.Version,
		})
	}
	return out
}
