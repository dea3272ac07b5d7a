package image

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/cli/command"
	"github.com/bundt/bundt/pkg/cli/complete"
	"github.com/bundt/bundt/pkg/cli/factory"
	"github.com/bundt/bundt/pkg/cli/iostreams"
	"github.com/bundt/bundt/pkg/cli/output"
	"github.com/bundt/bundt/pkg/cli/resolve"
	"github.com/bundt/bundt/pkg/cli/transfer"
	"github.com/bundt/bundt/pkg/cli/wait"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/model"
)

func newPushCommand(f *factory.Factory) *cobra.Command {
	var l transfer.Login
	var w wait.Options
	sign := false
	return command.Verb{
		Use: "push IMAGE REFERENCE", Short: "Send an image to an OCI registry", Object: "image", Args: cobra.ExactArgs(2),
		Long: `Send an image to an OCI registry, HOST[:PORT]/PATH[:TAG]: its layers, its kernel, and what
it says of itself. What the registry has already is not sent again. Prints the digest by which
bundt image pull gets this very image: REFERENCE@DIGEST.

With --sign the account's key signs it (bundt signing-key show), so that others who trust that
key (bundt trust add) know who made it.`,
		Example:  "  bundt image push web-v2 registry.example.com/images/web:2 --sign",
		Complete: complete.First(complete.Images(f)),
		Flags: func(cmd *cobra.Command) {
			l.AddFlags(cmd)
			w.AddFlags(cmd)
			cmd.Flags().BoolVar(&sign, "sign", false, "sign the image with the account's key")
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			a, err := l.Access(ctx, f.IO.In, args[1])
			if err != nil {
				return err
			}
			image, err := resolve.Image(ctx, s.Client, args[0])
			if err != nil {
				return err
			}
			out, err := command.Send(ctx, s, "PushImage", &bundttypes.PushImageInput{
				ImageId: &image, Reference: &a.Reference, Username: a.Username, Password: a.Password, PlainHttp: a.Plain,
				Sign: command.Given(sign), ClientToken: new(rand.Text()), DryRun: s.Plan.Flag(),
			}, s.PushImage)
			if err != nil || out == nil {
				return err
			}
			t, err := transfer.Follow(ctx, s, w, out.Task, "sending "+args[0])
			if err != nil || w.NoWait {
				return err
			}
			return s.Print(t.Digest)
		},
	}.Command(f)
}

func newPullCommand(f *factory.Factory) *cobra.Command {
	var l transfer.Login
	var w wait.Options
	name, signed := "", false
	return command.Verb{
		Use: "pull REFERENCE", Short: "Get an image from an OCI registry", Object: "image", Args: cobra.ExactArgs(1),
		Long: `Get an image that bundt image push sent to an OCI registry, HOST[:PORT]/PATH[:TAG][@DIGEST].
Layers that the account has already are not fetched again, and a pull that broke off goes on where
it ended. Prints the image's id.

The daemon makes the connections, and to registries on its own host only with
bundtd --import-from-host. With --require-signature only an image is taken that a key signed which the
account trusts (bundt trust add).`,
		Example: "  bundt image pull registry.example.com/images/web:2 --name web --require-signature",
		Flags: func(cmd *cobra.Command) {
			l.AddFlags(cmd)
			w.AddFlags(cmd)
			cmd.Flags().StringVarP(&name, "name", "n", "", "`name` of the image; default: the one that it was sent with")
			cmd.Flags().BoolVar(&signed, "require-signature", false, "take it only if a trusted key signed it")
			_ = cmd.RegisterFlagCompletionFunc("name", cobra.NoFileCompletions)
		},
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			a, err := l.Access(ctx, f.IO.In, args[0])
			if err != nil {
				return err
			}
			out, err := command.Send(ctx, s, "PullImage", &bundttypes.PullImageInput{
				Reference: &a.Reference, Username: a.Username, Password: a.Password, PlainHttp: a.Plain,
				Name: command.Given(name), RequireSignature: command.Given(signed), ClientToken: new(rand.Text()), DryRun: s.Plan.Flag(),
			}, s.PullImage)
			if err != nil || out == nil {
				return err
			}
			t, err := transfer.Follow(ctx, s, w, out.Task, "getting "+a.Reference)
			if err != nil || w.NoWait {
				return err
			}
			return s.Print(t.ImageId)
		},
	}.Command(f)
}

func newTasksCommand(f *factory.Factory) *cobra.Command {
	type task = bundttypes.RegistryTask
	return command.List[task]{
		What: "tasks with registries", Use: "tasks", Short: "List what is sent to registries and got from there",
		Long:  "List what is sent to registries and got from there, and what was in the last week, newest first.",
		Empty: "nothing was sent to a registry or got from one in the last week",
		All: func(ctx context.Context, s *command.Session, _ []string) ([]task, error) {
			return registryTasks(ctx, s.Client)
		},
		ID: func(t task) string { return t.TaskId },
		Columns: func(s *command.Session) []output.Column[task] {
			return []output.Column[task]{
				{Title: "TASK", Text: func(t task) string { return t.TaskId }, Style: func(task) iostreams.Style { return iostreams.Mark }},
				{Title: "DOES", Text: func(t task) string { return t.Direction }},
				{Title: "STATE", Text: func(t task) string { return t.State }, Style: taskStyle},
				{Title: "DONE", Text: func(t task) string { return fmt.Sprintf("%d%%", t.Progress) }},
				{Title: "IMAGE", Text: func(t task) string { return t.ImageId }},
				{Title: "REFERENCE", Text: func(t task) string { return t.Reference }},
				{Title: "SIGNED BY", Text: func(t task) string { return t.SignedBy }},
				{Title: "REASON", Text: func(t task) string { return t.StateReason }, Wide: true},
				command.Age(s, func(t task) *time.Time { return &t.CreatedAt }),
			}
		},
	}.Command(f)
}

func taskStyle(t bundttypes.RegistryTask) iostreams.Style {
	switch model.TaskState(t.State) {
	case model.TaskCompleted:
		return iostreams.Good
	case model.TaskDeleted:
		return iostreams.Bad
	}
	return iostreams.Busy
}

func registryTasks(ctx context.Context, c *client.Client) (all []bundttypes.RegistryTask, err error) {
	in := &bundttypes.DescribeRegistryTasksInput{}
	for {
		page, err := c.DescribeRegistryTasks(ctx, in)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Tasks...)
		if in.NextToken = page.NextToken; ec2types.Value(in.NextToken) == "" {
			slices.SortFunc(all, func(a, b bundttypes.RegistryTask) int { return b.CreatedAt.Compare(a.CreatedAt) })
			return all, nil
		}
	}
}

func newCancelCommand(f *factory.Factory) *cobra.Command {
	return command.Verb{
		Use: "cancel TASK", Short: "Stop sending or getting an image", Object: "task", Args: cobra.ExactArgs(1),
		Complete: complete.First(func(cmd *cobra.Command, _ []string, _ string) (ids []cobra.Completion, _ cobra.ShellCompDirective) {
			c, err := f.Client()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			all, _ := registryTasks(cmd.Context(), c)
			for _, t := range all {
				if t.State == string(model.TaskActive) {
					ids = append(ids, cobra.CompletionWithDesc(t.TaskId, t.Reference))
				}
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		}),
		Run: func(ctx context.Context, s *command.Session, args []string) error {
			return command.Change(ctx, s, args[0], "CancelRegistryTask", &bundttypes.CancelRegistryTaskInput{TaskId: &args[0], DryRun: s.Plan.Flag()}, s.CancelRegistryTask)
		},
	}.Command(f)
}
