package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/model"
)

func (c *Console) buildRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"builds", c.page(buildList))
	mux.HandleFunc("GET "+Path+"builds/{id}", c.page(buildPage))
	mux.HandleFunc("POST "+Path+"builds/start", c.do(startBuild))
	mux.HandleFunc("POST "+Path+"builds/cancel", c.do(cancelBuild))
}

func buildList(ctx context.Context, r *request) (*view, error) {
	out, err := call[bundttypes.DescribeBuildsOutput](ctx, r, "DescribeBuilds", &bundttypes.DescribeBuildsInput{})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(out.Builds, func(a, b bundttypes.Build) int { return b.CreatedAt.Compare(a.CreatedAt) })
	t := table{
		ID: "builds", Title: "Builds", Help: "A build bakes a recipe into an image, step by step.",
		Columns: []column{{Title: "Recipe"}, {Title: "Build"}, {Title: "State"}, {Title: "Architecture", Wide: true}, {Title: "Image"}, {Title: "Started", Wide: true}},
		Empty:   "Nothing has been built yet.", EmptyTo: &button{Text: "Choose a recipe", Action: Path + "images?from=quick-start"},
	}
	for _, b := range out.Builds {
		t.Rows = append(t.Rows, row{ID: b.BuildId, Cells: []cell{
			{Text: b.RecipeName + " " + b.RecipeVersion, Href: pageOf(b.BuildId)}, link(&b.BuildId), state(&b.State), {Text: b.Architecture}, link(&b.ImageId), when(&b.CreatedAt),
		}})
	}
	return &view{Title: "Builds", Section: "builds", Template: "table", Main: t}, nil
}

// buildStep is one on the page of a build.
type buildStep struct {
	Name, Phase, Detail, Error, State string
	Took                              string
	Log                               string
}

func buildPage(ctx context.Context, r *request) (*view, error) {
	id := r.PathValue("id")
	out, err := call[bundttypes.DescribeBuildsOutput](ctx, r, "DescribeBuilds", &bundttypes.DescribeBuildsInput{BuildIds: []string{id}})
	if err != nil {
		return nil, err
	}
	if len(out.Builds) == 0 {
		return nil, errNoPage
	}
	b := out.Builds[0]
	d := detail{Kind: "Build", Parent: button{Text: "Builds", Action: Path + "builds"}, ID: id, Name: b.RecipeName + " " + b.RecipeVersion, State: b.State}
	if b.FinishedAt == nil {
		d.Buttons = []button{{Text: "Cancel", Action: Path + "builds/cancel", Hidden: map[string]string{"id": id}, Danger: "The build is given up, and leaves nothing."}}
	} else if b.State == string(model.BuildAvailable) {
		d.Buttons = []button{{Text: "Launch", Action: Path + "launch?image=" + b.ImageId, Primary: true}}
	}
	if b.StateReason != nil {
		d.Notes = []string{b.StateReason.Message}
	}
	d.Facts = present(fact{"Image", link(&b.ImageId)}, fact{"Name of the image", cell{Text: b.ImageName}}, fact{"Architecture", cell{Text: b.Architecture}},
		fact{"Parent image", link(&b.ParentImageId)}, fact{"Started", when(&b.CreatedAt)}, fact{"Finished", when(b.FinishedAt)}, fact{"Held instance", link(&b.HeldInstanceId)}, fact{"Recipe", cell{Kind: codeText, Text: b.RecipeDigest}})
	var steps []buildStep
	for i, s := range b.Steps {
		shown := buildStep{Name: s.Name, Phase: s.Phase, Detail: s.Detail, Error: s.Error, State: "busy"}
		switch {
		case s.Error != "":
			shown.State = "failed"
		case s.Cached:
			shown.State, shown.Took = "done", "cached"
		case s.FinishedAt != nil:
			shown.State, shown.Took = "done", took(s.StartedAt, *s.FinishedAt)
		case b.FinishedAt != nil:
			shown.State = ""
		}
		if s.Phase != "" { // steps in guests print something
			log, err := call[bundttypes.GetBuildLogOutput](ctx, r, "GetBuildLog", &bundttypes.GetBuildLogInput{BuildId: &id, Step: new(int32(i + 1))})
			if err == nil {
				shown.Log = log.Log
			}
		}
		steps = append(steps, shown)
	}
	return &view{Title: "Build of " + cmp.Or(b.RecipeName, id), Section: "builds", Template: "build", Main: struct {
		detail
		Steps []buildStep
	}{d, steps}}, nil
}

func took(from, to time.Time) string { return fmt.Sprintf("%.1f s", to.Sub(from).Seconds()) }

func startBuild(ctx context.Context, r *request) (next, done string, err error) {
	name := r.FormValue("recipe")
	o := &r.console.options
	if o.Upload == nil || !slices.ContainsFunc(o.Recipes, func(known Recipe) bool { return known.Name == name }) {
		return "", "", model.Errorf(model.CodeInvalidParameterValue, "No recipe %q comes with bundt", name)
	}
	digest, err := o.Upload(ctx, name)
	if err != nil {
		return "", "", err
	}
	out, err := call[bundttypes.BuildImageOutput](ctx, r, "BuildImage", &bundttypes.BuildImageInput{ContextDigest: &digest, Architecture: filled(r.FormValue("arch"))})
	if err != nil {
		return "", "", err
	}
	return pageOf(out.BuildId), "", nil
}

func cancelBuild(ctx context.Context, r *request) (next, done string, err error) {
	err = act(ctx, r, "CancelBuild", &bundttypes.CancelBuildInput{BuildId: filled(r.FormValue("id"))})
	return back(r), "", err
}
