package console

import (
	"context"
	"net/http"
	"slices"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

// overview is the first page.
type overview struct {
	Counts []count
	Host   *bundttypes.DescribeHostOutput // nil: not for whoever signed in
	Recent table
	First  bool // there is nothing yet
}

type count struct {
	Title, Href string
	Number      int
	Note        string
}

func (c *Console) overviewRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"{$}", c.page(func(ctx context.Context, r *request) (*view, error) {
		o := overview{Recent: instanceTable()}
		o.Recent.Title, o.Recent.ID, o.Recent.Choose, o.Recent.Search, o.Recent.Forms = "Instances", "recent", nil, nil, nil
		found, err := call[ec2types.DescribeInstancesOutput](ctx, r, "DescribeInstances", &ec2types.DescribeInstancesInput{MaxResults: new(int32(1000))})
		if err != nil {
			return nil, err
		}
		all := instancesOf(found)
		running := 0
		for _, i := range all {
			if stateOf(&i) == "running" {
				running++
			}
		}
		for i := range all[:min(len(all), 8)] {
			o.Recent.Rows = append(o.Recent.Rows, instanceRow(&all[i]))
		}
		images, err := ownImages(ctx, r)
		if err != nil {
			return nil, err
		}
		volumes, err := call[ec2types.DescribeVolumesOutput](ctx, r, "DescribeVolumes", &ec2types.DescribeVolumesInput{})
		if err != nil {
			return nil, err
		}
		gib := int32(0)
		for _, v := range volumes.Volumes {
			gib += ec2types.Value(v.Size)
		}
		o.First = len(all) == 0 && len(images) == 0
		o.Counts = []count{
			{"Instances", Path + "instances", len(all), plural(running, "running", "running")},
			{"Images of yours", Path + "images", len(images), "recipes that became AMIs"},
			{"Volumes", Path + "volumes", len(volumes.Volumes), plural(int(gib), "GiB", "GiB")},
		}
		// What the host is made of is the owner's business.
		if o.Host, err = call[bundttypes.DescribeHostOutput](ctx, r, "DescribeHost", &bundttypes.DescribeHostInput{}); err != nil {
			o.Host = nil
		}
		return &view{Title: "Overview", Section: "overview", Template: "overview", Main: o}, nil
	}))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return plain("%d %s", n, many).Text
}

// ownImages are the account's, the youngest first.
func ownImages(ctx context.Context, r *request) ([]ec2types.Image, error) {
	out, err := call[ec2types.DescribeImagesOutput](ctx, r, "DescribeImages", &ec2types.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil {
		return nil, err
	}
	sortImages(out.Images)
	return out.Images, nil
}

func sortImages(images []ec2types.Image) {
	slices.SortFunc(images, func(a, b ec2types.Image) int {
		return -compareStrings(ec2types.Value(a.CreationDate), ec2types.Value(b.CreationDate))
	})
}
