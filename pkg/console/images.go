package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
)

func compareStrings(a, b string) int { return cmp.Compare(a, b) }

// recipeTag names an image's recipe.
const recipeTag = "bundt:recipe"

// gallery is a page of images of one of the places where AMIs come from.
type gallery struct {
	Tabs  []tab
	Help  string
	Cards []card
	Table *table
	// Pick has each image lead to the launch instead of to its page.
	Pick bool
}

type tab struct {
	Title, Href string
	Current     bool
}

// card is a recipe or a product.
type card struct {
	Title, Text, Note, State string
	Codes                    []string
	Buttons                  []button // links and forms
	Terms                    string
	Subscribe                *form
}

// places are the tabs of the images' page, in the order of EC2's launch.
var places = []struct {
	id, title, help string
	fill            func(ctx context.Context, r *request, g *gallery) error
}{
	{"quick-start", "Quick Start", "Recipes that come with bundt. The first time an image is built or fetched, and checked; from then on it is here.", quickStart},
	{"mine", "My AMIs", "Images of this account: built from recipes, made of instances, imported, copied and pulled.", mine},
	{"marketplace", "Marketplace", "Products of publishers whose keys are trusted here. Their terms are accepted once.", marketplace},
	{"community", "Community", "Public images of other accounts of this cloud, and of communities' indexes.", community},
}

func (c *Console) imageRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+Path+"images", c.page(func(ctx context.Context, r *request) (*view, error) {
		return galleryPage(ctx, r, Path+"images", false)
	}))
	mux.HandleFunc("GET "+Path+"images/{id}", c.page(imagePage))
	mux.HandleFunc("GET "+Path+"images/{id}/diff", c.page(diffPage))
	mux.HandleFunc("POST "+Path+"images/deregister", c.do(deregister))
	mux.HandleFunc("POST "+Path+"images/share", c.do(share))
	mux.HandleFunc("POST "+Path+"products/subscribe", c.do(subscribe))
	mux.HandleFunc("POST "+Path+"products/pull", c.do(pull))
	mux.HandleFunc("GET "+Path+"lineage", c.page(lineagePage))
}

// galleryPage shows the images of a place: on their own, or as the launch's first step.
func galleryPage(ctx context.Context, r *request, at string, pick bool) (*view, error) {
	from := cmp.Or(r.URL.Query().Get("from"), "mine")
	if pick && r.URL.Query().Get("from") == "" {
		from = "quick-start"
	}
	g := &gallery{Pick: pick}
	known := false
	for _, p := range places {
		g.Tabs = append(g.Tabs, tab{p.title, at + "?from=" + p.id, p.id == from})
		if p.id == from {
			known, g.Help = true, p.help
			if err := p.fill(ctx, r, g); err != nil {
				return nil, err
			}
		}
	}
	if !known {
		return nil, errNoPage
	}
	v := &view{Title: "Images", Section: "images", Template: "images", Main: g}
	if pick {
		v.Title, v.Section = "Launch: choose an image", "launch"
	}
	return v, nil
}

func imageTable(pick bool) *table {
	t := &table{
		ID:      "images",
		Columns: []column{{Title: "Name"}, {Title: "Image"}, {Title: "State"}, {Title: "Architecture"}, {Title: "Size", Wide: true}, {Title: "Made", Wide: true}, {Title: ""}},
	}
	if !pick {
		t.Choose = []button{{Text: "Deregister", Action: Path + "images/deregister", Danger: "Deregistered images can be taken back from the recycle bin while its time lasts: bundt image bin ls"}}
	}
	return t
}

func imageRow(i *ec2types.Image) row {
	gib := int32(0)
	for _, b := range i.BlockDeviceMappings {
		if b.Ebs != nil {
			gib += ec2types.Value(b.Ebs.VolumeSize)
		}
	}
	launch := cell{Text: "Launch", Href: Path + "launch?image=" + url.QueryEscape(ec2types.Value(i.ImageId))}
	if ec2types.Value(i.State) != "available" {
		launch = cell{}
	}
	return row{ID: ec2types.Value(i.ImageId), Cells: []cell{
		{Text: cmp.Or(ec2types.Value(i.Name), nameOf(i.Tags)), Href: pageOf(ec2types.Value(i.ImageId))}, link(i.ImageId), state(i.State), text(i.Architecture),
		number(&gib, "GiB"), {Kind: whenText, Text: ec2types.Value(i.CreationDate), Sort: ec2types.Value(i.CreationDate)}, launch,
	}}
}

func mine(ctx context.Context, r *request, g *gallery) error {
	images, err := ownImages(ctx, r)
	if err != nil {
		return err
	}
	g.Table = imageTable(g.Pick)
	g.Table.Empty, g.Table.EmptyTo = "No images of your own yet. Build one from a recipe of Quick Start, or make one of a running instance.", &button{Text: "See Quick Start", Action: "?from=quick-start"}
	for i := range images {
		g.Table.Rows = append(g.Table.Rows, imageRow(&images[i]))
	}
	return nil
}

// quickStart shows the recipes that come with bundt, and what has become of them.
func quickStart(ctx context.Context, r *request, g *gallery) error {
	images, err := ownImages(ctx, r)
	if err != nil {
		return err
	}
	builds, err := call[bundttypes.DescribeBuildsOutput](ctx, r, "DescribeBuilds", &bundttypes.DescribeBuildsInput{})
	if err != nil {
		return err
	}
	for _, recipe := range r.console.options.Recipes {
		card := card{Title: cmp.Or(recipe.Title, recipe.Name), Text: recipe.Description, Codes: recipe.Architectures}
		for _, arch := range recipe.Architectures {
			card.Buttons = append(card.Buttons, recipeButton(recipe.Name, arch, images, builds.Builds))
		}
		g.Cards = append(g.Cards, card)
	}
	return nil
}

// recipeButton launches an architecture's image, or has it built.
func recipeButton(name, arch string, images []ec2types.Image, builds []bundttypes.Build) button {
	for i := range images {
		img := &images[i]
		if tagOf(img.Tags, recipeTag) == name && ec2types.Value(img.Architecture) == arch && ec2types.Value(img.State) == "available" && img.SourceInstanceId == nil {
			return button{Text: "Launch " + arch, Action: Path + "launch?image=" + url.QueryEscape(*img.ImageId), Primary: true}
		}
	}
	for _, b := range builds {
		if b.RecipeName == name && b.Architecture == arch && b.FinishedAt == nil {
			return button{Text: "Building " + arch, Action: pageOf(b.BuildId)}
		}
	}
	return button{Text: "Build " + arch, Action: Path + "builds/start", Hidden: map[string]string{"recipe": name, "arch": arch}}
}

func tagOf(list []ec2types.Tag, key string) string {
	for _, t := range list {
		if ec2types.Value(t.Key) == key {
			return ec2types.Value(t.Value)
		}
	}
	return ""
}

func marketplace(ctx context.Context, r *request, g *gallery) error {
	return products(ctx, r, g, "market")
}

func products(ctx context.Context, r *request, g *gallery, kind string) error {
	out, err := call[bundttypes.DescribeProductsOutput](ctx, r, "DescribeProducts", &bundttypes.DescribeProductsInput{Kind: &kind})
	if err != nil {
		return err
	}
	for _, p := range out.Products {
		c := card{Title: p.Title, Text: p.Description, Note: "by " + p.Publisher, Terms: p.Terms}
		if p.Price != "" {
			c.Note += ", " + p.Price
		}
		accepted := p.SubscribedAt != nil || kind != "market"
		if !accepted {
			c.Subscribe = &form{Action: Path + "products/subscribe", Submit: "Accept the terms", Fields: []field{
				{Name: "product", Type: "hidden", Value: p.ProductCode}, {Name: "terms", Type: "hidden", Value: p.TermsDigest},
			}}
		}
		for _, v := range p.Versions {
			c.Codes = append(c.Codes, v.Version+" "+v.Architecture)
			switch {
			case !accepted:
			case v.ImageId != "":
				c.Buttons = append(c.Buttons, button{Text: "Launch " + v.Version + " " + v.Architecture, Action: Path + "launch?image=" + url.QueryEscape(v.ImageId), Primary: true})
			default:
				c.Buttons = append(c.Buttons, button{Text: "Get " + v.Version + " " + v.Architecture, Action: Path + "products/pull", Hidden: map[string]string{"product": p.ProductCode, "version": v.Version, "arch": v.Architecture}})
			}
		}
		g.Cards = append(g.Cards, c)
	}
	if len(g.Cards) == 0 && kind == "market" {
		g.Help += " None is trusted yet: bundt market add adds one."
	}
	return nil
}

func subscribe(ctx context.Context, r *request) (next, done string, err error) {
	err = act(ctx, r, "SubscribeToProduct", &bundttypes.SubscribeToProductInput{
		ProductCode: filled(r.FormValue("product")), TermsDigest: filled(r.FormValue("terms")),
	})
	return back(r), "The terms are accepted", err
}

func pull(ctx context.Context, r *request) (next, done string, err error) {
	err = act(ctx, r, "PullProductImage", &bundttypes.PullProductImageInput{
		ProductCode: filled(r.FormValue("product")), Version: filled(r.FormValue("version")), Architecture: filled(r.FormValue("arch")),
	})
	return back(r), "The image is on its way", err
}

func community(ctx context.Context, r *request, g *gallery) error {
	out, err := call[ec2types.DescribeImagesOutput](ctx, r, "DescribeImages", &ec2types.DescribeImagesInput{ExecutableUsers: []string{"all"}})
	if err != nil {
		return err
	}
	sortImages(out.Images)
	g.Table = imageTable(true)
	g.Table.Empty = "No other account of this cloud has made an image public."
	for i := range out.Images {
		if ec2types.Value(out.Images[i].OwnerId) != r.Account() {
			g.Table.Rows = append(g.Table.Rows, imageRow(&out.Images[i]))
		}
	}
	return products(ctx, r, g, "community")
}

func deregister(ctx context.Context, r *request) (next, done string, err error) {
	ids := r.Form["id"]
	if len(ids) == 0 {
		return "", "", missing("which images: choose some in the table")
	}
	for _, id := range ids {
		if err := act(ctx, r, "DeregisterImage", &ec2types.DeregisterImageInput{ImageId: &id}); err != nil {
			return "", "", err
		}
	}
	return Path + "images", "Deregistered " + strings.Join(ids, ", "), nil
}

func share(ctx context.Context, r *request) (next, done string, err error) {
	public := []ec2types.LaunchPermission{{Group: new("all")}}
	change := &ec2types.LaunchPermissionModifications{Add: public}
	if r.FormValue("public") == "" {
		change = &ec2types.LaunchPermissionModifications{Remove: public}
	}
	err = act(ctx, r, "ModifyImageAttribute", &ec2types.ModifyImageAttributeInput{ImageId: filled(r.FormValue("id")), LaunchPermission: change})
	return back(r), "", err
}

func imagePage(ctx context.Context, r *request) (*view, error) {
	id := r.PathValue("id")
	out, err := call[ec2types.DescribeImagesOutput](ctx, r, "DescribeImages", &ec2types.DescribeImagesInput{ImageIds: []string{id}, IncludeDisabled: new(true)})
	if err != nil {
		return nil, err
	}
	if len(out.Images) == 0 {
		return nil, errNoPage
	}
	i := &out.Images[0]
	own := ec2types.Value(i.OwnerId) == r.Account()
	d := detail{Kind: "Image", Parent: button{Text: "Images", Action: Path + "images"}, ID: id, Name: ec2types.Value(i.Name), State: ec2types.Value(i.State), Tags: i.Tags, Tagged: own}
	if d.State == "available" {
		d.Buttons = append(d.Buttons, button{Text: "Launch", Action: Path + "launch?image=" + url.QueryEscape(id), Primary: true})
	}
	if d.State == "available" && own {
		d.Buttons = append(d.Buttons, button{Text: "Compare", Action: Path + "images/" + url.PathEscape(id) + "/diff"})
	}
	if own {
		public := button{Text: "Make public", Action: Path + "images/share", Hidden: map[string]string{"id": id, "public": "yes"}, Danger: "All accounts of this cloud can then launch instances of it."}
		if ec2types.Value(i.Public) {
			public = button{Text: "Make private", Action: Path + "images/share", Hidden: map[string]string{"id": id}}
		}
		d.Buttons = append(d.Buttons, public, button{Text: "Deregister", Action: Path + "images/deregister", Hidden: map[string]string{"id": id}, Danger: "No instance can be launched of it any more. The recycle bin may keep it for a time."})
	}
	if i.StateReason != nil {
		d.Notes = append(d.Notes, ec2types.Value(i.StateReason.Message))
	}
	d.Facts = present(
		fact{"Description", text(i.Description)}, fact{"Architecture", text(i.Architecture)}, fact{"Boot mode", text(i.BootMode)}, fact{"Owner", code(i.OwnerId)},
		fact{"Public", yes(i.Public)}, fact{"Made", cell{Kind: whenText, Text: ec2types.Value(i.CreationDate)}}, fact{"Made of the instance", link(i.SourceInstanceId)},
		fact{"Root device", code(i.RootDeviceName)}, fact{"Metadata service", text(i.ImdsSupport)}, fact{"Recipe", cell{Text: tagOf(i.Tags, recipeTag)}},
		fact{"Deprecated from", cell{Kind: whenText, Text: ec2types.Value(i.DeprecationTime)}}, fact{"Last launched", cell{Kind: whenText, Text: ec2types.Value(i.LastLaunchedTime)}},
	)
	devices := table{ID: "image-devices", Title: "Storage mappings", Columns: []column{{Title: "Device"}, {Title: "Snapshot"}, {Title: "Size"}, {Title: "Type", Wide: true}, {Title: "Goes with the instance", Wide: true}}}
	for _, b := range i.BlockDeviceMappings {
		if b.Ebs != nil {
			devices.Rows = append(devices.Rows, row{Cells: []cell{code(b.DeviceName), link(b.Ebs.SnapshotId), number(b.Ebs.VolumeSize, "GiB"), text(b.Ebs.VolumeType), yes(b.Ebs.DeleteOnTermination)}})
		}
	}
	d.Tables = []table{devices}
	if layers := history(ctx, r, id); layers != nil {
		d.Tables = append(d.Tables, *layers)
	}
	tree, err := family(ctx, r, &bundttypes.DescribeLineageInput{ImageId: &id})
	if err != nil {
		return nil, err
	}
	return &view{Title: cmp.Or(d.Name, id), Section: "images", Template: "image", Main: struct {
		detail
		Lineage []branch
	}{d, tree}}, nil
}

// history lists an image's layers; nil if they are not to be seen.
func history(ctx context.Context, r *request, id string) *table {
	out, err := call[bundttypes.GetImageHistoryOutput](ctx, r, "GetImageHistory", &bundttypes.GetImageHistoryInput{ImageId: &id})
	if err != nil {
		return nil
	}
	t := &table{ID: "image-layers", Title: "Layers of the root disk", Help: "The last one is on top: what it lacks is read from the ones below.", Columns: []column{{Title: "Made by"}, {Title: "Size"}, {Title: "When", Wide: true}, {Title: "Layer", Wide: true}}}
	for _, l := range out.Layers {
		t.Rows = append(t.Rows, row{Cells: []cell{{Text: l.By}, bytesCell(l.AllocatedBytes), when(l.CreatedAt), {Kind: codeText, Text: l.LayerId}}})
	}
	return t
}

// bytesCell is a number of bytes.
func bytesCell(n int64) cell { return cell{Text: size(n), Sort: fmt.Sprintf("%020d", n)} }

// size is a number of bytes, for people.
func size(n int64) string {
	value, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

// branch is a line of a family tree.
type branch struct {
	Depth   int
	Kind    string
	Title   string
	ID      string
	Href    string
	State   string
	When    cell
	Current bool
}

// maxTwins is how many instances of one image a tree has, of those that nothing
// descends from.
const maxTwins = 20

// family is who descends from whom, the eldest first.
func family(ctx context.Context, r *request, in *bundttypes.DescribeLineageInput) ([]branch, error) {
	out, err := call[bundttypes.DescribeLineageOutput](ctx, r, "DescribeLineage", in)
	if err != nil {
		return nil, err
	}
	children, known := map[string][]bundttypes.LineageNode{}, map[string]bool{}
	for _, n := range out.Nodes {
		known[n.Id] = true
	}
	for _, n := range out.Nodes {
		parent := n.ParentId
		if !known[parent] {
			parent = ""
		}
		children[parent] = append(children[parent], n)
	}
	var tree []branch
	var grow func(parent string, depth int)
	grow = func(parent string, depth int) {
		nodes := children[parent]
		delete(children, parent) // nobody descends from themselves
		slices.SortStableFunc(nodes, func(a, b bundttypes.LineageNode) int {
			return ec2types.Value(a.CreatedAt).Compare(ec2types.Value(b.CreatedAt))
		})
		leaves := 0
		for _, n := range nodes {
			if n.Kind == bundttypes.LineageInstance && len(children[n.Id]) == 0 {
				if leaves++; leaves > maxTwins {
					continue
				}
			}
			b := branch{Depth: depth, Kind: n.Kind, Title: cmp.Or(n.Name, n.Id), ID: n.Id, Href: pageOf(n.Id), State: n.State, When: when(n.CreatedAt)}
			b.Current = n.Id == ec2types.Value(in.ImageId)
			tree = append(tree, b)
			grow(n.Id, depth+1)
		}
		if more := leaves - maxTwins; more > 0 {
			tree = append(tree, branch{Depth: depth, Kind: bundttypes.LineageInstance, Title: fmt.Sprintf("and %d more", more)})
		}
	}
	grow("", 0)
	return tree, nil
}

func lineagePage(ctx context.Context, r *request) (*view, error) {
	tree, err := family(ctx, r, &bundttypes.DescribeLineageInput{})
	return &view{Title: "Lineage", Section: "lineage", Template: "lineage", Main: tree}, err
}
