package actions_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/actions"
	"github.com/bundt/bundt/pkg/api/ssmtypes"
	"github.com/bundt/bundt/pkg/cloud"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/records"
	"github.com/bundt/bundt/pkg/store"
)

// emptyCloud is one with nothing in it.
func emptyCloud(t *testing.T) (*store.Store, *cloud.Cloud) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: filepath.Join(t.TempDir(), "etcd"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c, err := cloud.New(t.Context(), cloud.Options{Store: s, Region: "test-1"})
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

// TestParameters: the newest image of a name that the account can launch, and nothing else.
func TestParameters(t *testing.T) {
	s, c := emptyCloud(t)
	owner := c.Info().AccountID
	put := func(name, recipe string, arch model.Arch, day int, change func(*model.Image)) string {
		i := model.Image{ID: model.NewID(model.ImagePrefix), OwnerID: owner, Name: name, Arch: arch, State: model.ImageAvailable, Created: time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)}
		if recipe != "" {
			i.Recipe = &model.RecipeRef{Name: recipe}
		}
		if change != nil {
			change(&i)
		}
		if err := s.Update(t.Context(), func(tx *store.Tx) error { return records.Images.Put(tx, &i) }); err != nil {
			t.Fatal(err)
		}
		return i.ID
	}
	put("tiny-1", "tiny", model.X8664, 1, nil)
	tiny := put("tiny-2", "tiny", model.X8664, 2, nil)
	arm := put("tiny-2-arm64", "tiny", model.ARM64, 3, nil)
	put("tiny-3", "tiny", model.X8664, 4, func(i *model.Image) { i.State = model.ImagePending })
	put("other", "", model.X8664, 5, func(i *model.Image) { i.OwnerID = "999999999999" })
	web := put("web", "", model.ARM64, 6, nil)
	put("a name/with more", "", model.X8664, 7, nil)
	debian := put("debian", "debian-12", model.X8664, 8, nil)
	ubuntu := put("ubuntu-24.04", "", model.X8664, 9, nil)

	table := api.NewTable()
	actions.RegisterSSM(table, c)
	d, err := api.NewDispatcher(table, api.Options{Authorize: func(context.Context, *api.Call) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	call := func(action string, in any) (any, error) {
		return d.Call(t.Context(), &api.Call{Action: action, Input: in, Principal: api.Principal{AccountID: owner}})
	}
	for name, want := range map[string]string{
		"/aws/service/bundt/tiny/latest/x86_64/image_id":     tiny,
		"/aws/service/bundt/tiny/latest/arm64/image_id":      arm,
		"/aws/service/bundt/tiny/latest/image_id":            tiny, // although that of arm64 is newer
		"/aws/service/bundt/web/latest/image_id":             web,
		"/aws/service/debian/release/12/latest/amd64":        debian,
		"/aws/service/debian/release/12/latest/arm64":        "",
		"/aws/service/debian/release/13/latest/amd64":        "",
		"/aws/service/bundt/tiny/latest/i386/image_id":       "",
		"/aws/service/bundt/other/latest/image_id":           "",
		"/aws/service/bundt/a name/latest/x86_64/image_id":   "",
		"/aws/service/ami-amazon-linux-latest/al2023-x86_64": "",
		"tiny": "",
		"/aws/service/bundt/tiny/latest/image_id:" + fmt.Sprint(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC).Unix()): tiny,
		"arn:aws:ssm:test-1::parameter/aws/service/bundt/web/latest/image_id":                                       web,
		"/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id":                        ubuntu,
		"/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id":                        "",
	} {
		out, err := call("GetParameter", &ssmtypes.GetParameterInput{Name: &name})
		if want == "" {
			if model.CodeOf(err) != "ParameterNotFound" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || *out.(*ssmtypes.GetParameterOutput).Parameter.Value != want {
			t.Errorf("%s: %v %v, want %s", name, out, err, want)
		}
	}
	for _, selector := range []string{":1", ":stable", ":"} {
		if _, err := call("GetParameter", &ssmtypes.GetParameterInput{Name: new("/aws/service/bundt/tiny/latest/image_id" + selector)}); model.CodeOf(err) != "ParameterVersionNotFound" {
			t.Errorf("the version %s answers %v", selector, err)
		}
	}
	out, err := call("GetParameters", &ssmtypes.GetParametersInput{Names: []string{"x", "/aws/service/bundt/tiny/latest/image_id"}})
	if many, ok := out.(*ssmtypes.GetParametersOutput); err != nil || !ok || len(many.Parameters) != 1 || len(many.InvalidParameters) != 1 || many.InvalidParameters[0] != "x" {
		t.Errorf("GetParameters: %+v %v", out, err)
	}
	seen, token := 0, (*string)(nil)
	for {
		out, err := call("GetParametersByPath", &ssmtypes.GetParametersByPathInput{Path: new("/aws/service/bundt"), Recursive: new(true), MaxResults: new(int32(2)), NextToken: token})
		if err != nil {
			t.Fatal(err)
		}
		page := out.(*ssmtypes.GetParametersByPathOutput)
		seen += len(page.Parameters)
		if token = page.NextToken; token == nil {
			break
		}
	}
	if seen != 9 {
		t.Errorf("%d parameters below /aws/service/bundt, want 9", seen)
	}
	out, err = call("GetParametersByPath", &ssmtypes.GetParametersByPathInput{Path: new("/aws/service/bundt/tiny/latest/")})
	if one, ok := out.(*ssmtypes.GetParametersByPathOutput); err != nil || !ok || len(one.Parameters) != 1 {
		t.Errorf("not recursive: %+v %v", out, err)
	}
}
