//go:build vm

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

// runs are the runs of a pipeline, the newest first.
func (d daemon) runs(t *testing.T, pipeline string) []bundttypes.ImagePipelineExecution {
	t.Helper()
	out, err := d.API.DescribeImagePipelineExecutions(t.Context(), &bundttypes.DescribeImagePipelineExecutionsInput{ImagePipeline: &pipeline})
	must(t, err)
	return out.Executions
}

// ran waits for a number of runs, of which the newest shall be available.
func (d daemon) ran(t *testing.T, pipeline string, n int) bundttypes.ImagePipelineExecution {
	t.Helper()
	eventually(t, fmt.Sprintf("run %d is available", n), func() error {
		if all := d.runs(t, pipeline); len(all) != n || all[0].State != "available" {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
	return d.runs(t, pipeline)[0]
}

// TestPipeline: a pipeline builds when its schedule is due and its parent is another one;
// a daemon that is killed meanwhile goes on when it is back, and what a pipeline does not
// keep is gone.
func TestPipeline(t *testing.T) {
	d := newDaemon(t)
	tiny := d.build(t, "tiny", "x86_64")
	d.cli(t, "pipeline", "create", "web", recipeOf(t, "web", "grep hello /var/www/hello.html"), "--schedule", "* * * * ? *", "--disabled", "--keep", "1", "--with", "123456789012")
	d.cli(t, "pipeline", "start", "web")
	first := d.ran(t, "web", 1)
	if first.Version != "1.0.1" || first.ParentImageId != tiny || first.DueAt != nil || first.Distributions[0].State != "completed" {
		t.Errorf("%+v", first)
	}

	// Another parent, and the daemon is killed while the next image is built, and again.
	copied, err := d.API.CopyImage(t.Context(), &ec2types.CopyImageInput{Name: new("tiny-2"), SourceImageId: &tiny, SourceRegion: new("local-1"), CopyImageTags: new(true)})
	must(t, err)
	d.cli(t, "pipeline", "enable", "web")
	for _, phase := range []string{"image", "validate"} {
		eventually(t, "the second run is in "+phase, func() error {
			all := d.runs(t, "web")
			if len(all) < 2 || all[0].BuildId == "" {
				return fmt.Errorf("%+v", all)
			}
			out, err := d.API.DescribeBuilds(t.Context(), &bundttypes.DescribeBuildsInput{BuildIds: []string{all[0].BuildId}})
			if err != nil {
				return err
			}
			for _, s := range out.Builds[0].Steps {
				if s.Phase == phase {
					return nil
				}
			}
			return fmt.Errorf("%+v", out.Builds[0].Steps)
		})
		d.Kill()
		must(t, d.Start(t.Context()))
	}
	second := d.ran(t, "web", 2)
	if second.Version != "1.0.2" || second.ParentImageId != *copied.ImageId || second.DueAt == nil {
		t.Errorf("%+v", second)
	}
	d.cli(t, "pipeline", "disable", "web")
	images := strings.Fields(d.cli(t, "image", "ls", "-o", "name"))
	slices.Sort(images)
	if want := slices.Sorted(slices.Values([]string{tiny, second.ImageId, *copied.ImageId})); !slices.Equal(images, want) {
		t.Errorf("there are %v, not %v", images, want)
	}
	for _, image := range []string{second.ImageId, *copied.ImageId} {
		d.cli(t, "image", "delete", image)
	}
	d.onlyTiny(t) // the first run's image was not kept
	d.cli(t, "pipeline", "delete", "web")
}
