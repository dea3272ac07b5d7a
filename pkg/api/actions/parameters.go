package actions

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/ssmtypes"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
)

// SSM's error codes.
const (
	codeParameterNotFound        = "ParameterNotFound"
	codeParameterVersionNotFound = "ParameterVersionNotFound"
)

// publicParameters is the path of the parameters that name images.
const publicParameters = "/aws/service/bundt/"

// RegisterSSM adds the part of SSM's actions that finds images to a table of its
// own. The parameters are
//
//	/aws/service/bundt/NAME/latest/ARCH/image_id
//	/aws/service/bundt/NAME/latest/image_id
//	/aws/service/debian/release/RELEASE/latest/amd64   (and arm64)
//	/aws/service/canonical/ubuntu/server/RELEASE/stable/current/amd64/hvm/ebs-gp3/ami-id   (and ebs-gp2)
//
// NAME is an image's recipe, or the name of an image that has none. The value is
// the newest image of it that the account can launch; without ARCH that of x86_64
// if there is one. The last forms are Debian's and Ubuntu's own; they name images
// of debian-RELEASE and ubuntu-RELEASE, and exist only where such an image does.
func RegisterSSM(t *api.Table, c *cloud.Cloud) {
	a := &parameters{cloud: c, pager: api.NewPager(c.Info().Secret)}
	api.Register(t, api.Action[ssmtypes.GetParameterInput, ssmtypes.GetParameterOutput]{
		Name: "GetParameter", Handler: a.get, Acts: []string{"Name", "WithDecryption"},
	})
	api.Register(t, api.Action[ssmtypes.GetParametersInput, ssmtypes.GetParametersOutput]{
		Name: "GetParameters", Handler: a.getMany, Acts: []string{"Names", "WithDecryption"},
	})
	api.Register(t, api.Action[ssmtypes.GetParametersByPathInput, ssmtypes.GetParametersByPathOutput]{
		Name: "GetParametersByPath", Handler: a.byPath, Acts: []string{"Path", "Recursive", "WithDecryption", "MaxResults", "NextToken"},
	})
}

type parameters struct {
	cloud *cloud.Cloud
	pager *api.Pager
}

// parameterPart is what can be a part of a parameter's name.
var parameterPart = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// parametersOf returns every parameter that the caller's account sees, by name.
func parametersOf(ctx context.Context, c *cloud.Cloud) (map[string]ssmtypes.Parameter, error) {
	images, err := c.Account(api.PrincipalFrom(ctx).AccountID).FindImages(ctx, nil)
	if err != nil {
		return nil, err
	}
	// Older ones first: the last one to be put wins.
	images = slices.Clone(images) // the list is shared
	slices.SortFunc(images, func(x, y *model.Image) int {
		return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(x.ID, y.ID))
	})
	out := map[string]ssmtypes.Parameter{}
	put := func(name string, i *model.Image) { out[name] = parameter(c.Info().Region, name, i) }
	preferred := map[string]bool{} // names whose shortest form is an x86_64 image's
	for _, i := range images {
		name := i.Name
		if i.Recipe != nil {
			name = i.Recipe.Name
		}
		if i.State != model.ImageAvailable || !parameterPart.MatchString(name) {
			continue
		}
		put(publicParameters+name+"/latest/"+string(i.Arch)+"/image_id", i)
		if i.Arch == model.X8664 || !preferred[name] {
			put(publicParameters+name+"/latest/image_id", i)
			preferred[name] = i.Arch == model.X8664
		}
		for _, other := range distributionParameters(name, i.Arch) {
			put(other, i)
		}
	}
	return out, nil
}

// distributionParameters are the names that a distribution itself gives to the
// image of one of its releases.
// https://wiki.debian.org/Cloud/AmazonEC2Image
// https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
func distributionParameters(name string, arch model.Arch) (out []string) {
	word := map[model.Arch]string{model.X8664: "amd64", model.ARM64: "arm64"}[arch]
	if word == "" {
		return nil
	}
	if release, ok := strings.CutPrefix(name, "debian-"); ok {
		out = append(out, "/aws/service/debian/release/"+release+"/latest/"+word)
	}
	if release, ok := strings.CutPrefix(name, "ubuntu-"); ok {
		for _, volume := range []string{"gp2", "gp3"} {
			out = append(out, "/aws/service/canonical/ubuntu/server/"+release+"/stable/current/"+word+"/hvm/ebs-"+volume+"/ami-id")
		}
	}
	return out
}

func parameter(region, name string, i *model.Image) ssmtypes.Parameter {
	return ssmtypes.Parameter{
		ARN: ptr("arn:aws:ssm:" + region + "::parameter" + name), DataType: ptr("aws:ec2:image"), LastModifiedDate: ptr(i.Created),
		Name: &name, Type: ptr(ssmtypes.ParameterTypeString), Value: ptr(i.ID),
		Version: ptr(i.Created.Unix()), // grows with every newer image
	}
}

// find returns the parameter that a request names. There is its newest version
// only, and there are no labels.
func find(all map[string]ssmtypes.Parameter, text string) (ssmtypes.Parameter, error) {
	name, selector := cloud.ParameterName(text)
	p, ok := all[name]
	if !ok {
		return p, model.Errorf(codeParameterNotFound, "Parameter %s not found.", text).
			WithHint("the parameters are %sNAME/latest/ARCH/image_id for images that exist", publicParameters)
	}
	if selector != "" {
		if version := fmt.Sprintf(":%d", *p.Version); selector != version {
			return p, model.Errorf(codeParameterVersionNotFound, "Systems Manager could not find version %s of %s.", selector[1:], name).
				WithHint("a parameter has its present version only, which is %s", version[1:])
		}
		p.Selector = &selector
	}
	return p, nil
}

func (a *parameters) get(ctx context.Context, in *ssmtypes.GetParameterInput) (*ssmtypes.GetParameterOutput, error) {
	all, err := parametersOf(ctx, a.cloud)
	if err != nil {
		return nil, err
	}
	p, err := find(all, *in.Name)
	if err != nil {
		return nil, err
	}
	return &ssmtypes.GetParameterOutput{Parameter: &p}, nil
}

// resolveAlias returns the id of the image that an alias means now; of anything
// else the text itself.
func (a *Actions) resolveAlias(ctx context.Context, text string) (string, error) {
	name, ok := strings.CutPrefix(text, cloud.AliasPrefix)
	if !ok {
		return text, nil
	}
	all, err := parametersOf(ctx, a.cloud)
	if err != nil {
		return text, err
	}
	p, err := find(all, name)
	if model.CodeOf(err) != "" {
		return text, model.Errorf(model.CodeInvalidParameterValue, "Invalid value '%s' for ImageId: %v", text, err)
	}
	return *p.Value, err
}

func (a *parameters) getMany(ctx context.Context, in *ssmtypes.GetParametersInput) (*ssmtypes.GetParametersOutput, error) {
	if len(in.Names) > 10 {
		return nil, model.Errorf("ValidationException", "Names must have at most 10 items")
	}
	all, err := parametersOf(ctx, a.cloud)
	if err != nil {
		return nil, err
	}
	out := &ssmtypes.GetParametersOutput{}
	for _, name := range in.Names {
		if p, err := find(all, name); err == nil {
			out.Parameters = append(out.Parameters, p)
		} else {
			out.InvalidParameters = append(out.InvalidParameters, name)
		}
	}
	return out, nil
}

func (a *parameters) byPath(ctx context.Context, in *ssmtypes.GetParametersByPathInput) (*ssmtypes.GetParametersByPathOutput, error) {
	all, err := parametersOf(ctx, a.cloud)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(*in.Path, "/") {
		return nil, model.Errorf("ValidationException", "The parameter path must begin with a slash")
	}
	path := strings.TrimSuffix(*in.Path, "/") + "/"
	recursive := in.Recursive != nil && *in.Recursive
	var found []ssmtypes.Parameter
	for name, p := range all {
		if rest, below := strings.CutPrefix(name, path); below && (recursive || !strings.Contains(rest, "/")) {
			found = append(found, p)
		}
	}
	size := in.MaxResults
	if size == nil {
		size = ptr(int32(10))
	}
	page, next, err := api.Paginate(a.pager, api.PageRequest{
		Action: "GetParametersByPath", NextToken: in.NextToken, MaxResults: size, Query: []any{path, recursive}, Min: 1, Max: 10,
	}, found, func(p ssmtypes.Parameter) string { return *p.Name })
	return &ssmtypes.GetParametersByPathOutput{Parameters: page, NextToken: next}, err
}
