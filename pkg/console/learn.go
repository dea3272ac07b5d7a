package console

import (
	"context"
	"html/template"
	"net/http"
	"slices"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/lab"
)

func (c *Console) learnRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"learn", c.page(lessonList))
	mux.HandleFunc("GET "+Path+"learn/{name}", c.page(lessonPage))
}

// shownLesson is a lesson and how far whoever signed in has come.
type shownLesson struct {
	Name, Title string
	Intro, End  template.HTML
	Steps       []shownStep
	Done        int
}

type shownStep struct {
	Title, Page, State string
	Text               template.HTML
	Now                bool // it is the next one to do
}

func lessonList(ctx context.Context, r *request) (*view, error) {
	all, err := shownLessons(ctx, r)
	return &view{Title: "Learn", Section: "learn", Template: "learn", Main: all}, err
}

func lessonPage(ctx context.Context, r *request) (*view, error) {
	all, err := shownLessons(ctx, r)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(l shownLesson) bool { return l.Name == r.PathValue("name") })
	if i < 0 {
		return nil, errNoPage
	}
	return &view{Title: all[i].Title, Section: "learn", Template: "lesson", Main: all[i]}, nil
}

// shownLessons are all lessons, each step of which is held to what the account has.
func shownLessons(ctx context.Context, r *request) ([]shownLesson, error) {
	lessons, err := lab.Lessons()
	if err != nil {
		return nil, err
	}
	out, err := call[bundttypes.DescribeLineageOutput](ctx, r, "DescribeLineage", &bundttypes.DescribeLineageInput{})
	if err != nil {
		return nil, err
	}
	world := lab.World{Lineage: out.Nodes, Answers: func(id string, port int) bool { return answers(ctx, r, id, port) }}
	var all []shownLesson
	for _, l := range lessons {
		s := shownLesson{Name: l.Name, Title: l.Title}
		if s.Intro, err = lab.HTML(l.Intro); err != nil {
			return nil, err
		}
		if s.End, err = lab.HTML(l.End); err != nil {
			return nil, err
		}
		for i, done := range l.Done(world) {
			step := shownStep{Title: l.Steps[i].Title, Page: l.Steps[i].Page, Now: !done && s.Done == i}
			if done {
				step.State = "done"
				s.Done++
			} else if step.Now {
				step.State = "busy"
			}
			if step.Text, err = lab.HTML(l.Steps[i].Text); err != nil {
				return nil, err
			}
			s.Steps = append(s.Steps, step)
		}
		all = append(all, s)
	}
	return all, nil
}

// answers reports whether a guest answers on a TCP port: the last of what a diagnosis
// looks at.
func answers(ctx context.Context, r *request, id string, port int) bool {
	out, err := call[bundttypes.GetInstanceDiagnosisOutput](ctx, r, "GetInstanceDiagnosis", &bundttypes.GetInstanceDiagnosisInput{InstanceId: &id, Port: new(int32(port))})
	if err != nil || len(out.Checks) == 0 {
		return false
	}
	return !slices.ContainsFunc(out.Checks, func(c bundttypes.HostCheck) bool { return c.Status == bundttypes.CheckFail })
}
