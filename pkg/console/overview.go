package console

import (
	"context"
	"net/http"
	"slices"
	"strconv"

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
	Title, Href  string
	Number, Note string
}

// countedAtMost bounds what the overview counts one by one: more are "500+".
const countedAtMost = 500

// counted is a number of things, of which there are more if there is a next page.
func counted(n int, next *string) string {
	if next != nil {
		return strconv.Itoa(n) + "+"
	}
	return strconv.Itoa(n)
}

func (c *Console) overviewRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"{$}", c.page(func(ctx context.Context, r *request) (*view, error) {
		o := overview{Recent: instanceTable()}
		o.Recent.Title, o.Recent.ID, o.Recent.Choose, o.Recent.Search, o.Recent.Forms = "Instances", "recent", nil, nil, nil
		found, err := optional(call[ec2types.DescribeInstancesOutput](ctx, r, "DescribeInstances", &ec2types.DescribeInstancesInput{MaxResults: new(int32(countedAtMost))}))
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
		if err != nil && !forbidden(err) {
			return nil, err
		}
		volumes, err := countVolumes(ctx, r, found.NextToken != nil)
		if err != nil {
			return nil, err
		}
		o.First = len(all) == 0 && len(images) == 0
		o.Counts = []count{
			{"Instances", Path + "instances", counted(len(all), found.NextToken), counted(running, found.NextToken) + " running"},
			{"Images of yours", Path + "images", counted(len(images), nil), "recipes that became AMIs"},
			volumes,
		}
		// What the host is made of is the owner's business.
		if o.Host, err = call[bundttypes.DescribeHostOutput](ctx, r, "DescribeHost", &bundttypes.DescribeHostInput{}); err != nil {
			o.Host = nil
		}
		return &view{Title: "Overview", Section: "overview", Template: "overview", Main: o}, nil
	}))
}

// countVolumes counts the volumes, if there are not too many to be looked at each time
// that the page changes.
func countVolumes(ctx context.Context, r *request, many bool) (count, error) {
	c := count{"Volumes", Path + "volumes", "many", "disks of instances"}
	if many {
		return c, nil
	}
	out, err := optional(call[ec2types.DescribeVolumesOutput](ctx, r, "DescribeVolumes", &ec2types.DescribeVolumesInput{MaxResults: new(int32(countedAtMost))}))
	if err != nil {
		return c, err
	}
	gib := 0
	for _, v := range out.Volumes {
		gib += int(ec2types.Value(v.Size))
	}
	c.Number, c.Note = counted(len(out.Volumes), out.NextToken), counted(gib, out.NextToken)+" GiB"
	return c, nil
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
