package cli_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bundt/bundt/pkg/api"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/jsonapi"
	"github.com/bundt/bundt/pkg/model"
	"github.com/bundt/bundt/pkg/recipe"
	"github.com/bundt/bundt/pkg/version"
)

// toyCloud is a cloud in memory behind the real dispatcher and codec: what the
// command line says and hears is real, and each look at an instance takes it one
// state further.
type toyCloud struct {
	mu        sync.Mutex
	instances []*ec2types.Instance
	images    []*ec2types.Image
	keys      []*ec2types.KeyPairInfo
	builds    []*bundttypes.Build
	looks     map[string]int // at an instance since its last change
	stuck     bool           // nothing ever becomes reachable
	toyStorage

	credentials string // file of the admin's access key
}

// serve answers on a unix socket until the test ends.
func (c *toyCloud) serve(t testing.TB, socket string) {
	t.Helper()
	d, err := api.NewDispatcher(c.table(), api.Options{Authorize: func(context.Context, *api.Call) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	h, err := jsonapi.Handler(d, jsonapi.Options{
		Authenticate: func(*http.Request) (api.Principal, error) { return api.Principal{}, nil },
		Uploads:      jsonapi.UploadFunc(c.upload),
		Connect:      c.connect,
		Version:      version.Get(),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
}

func register[I, O any](t *api.Table, name string, acts []string, handler func(*I) (*O, error)) {
	api.Register(t, api.Action[I, O]{Name: name, Acts: acts, Handler: func(_ context.Context, in *I) (*O, error) { return handler(in) }})
}

func (c *toyCloud) table() *api.Table {
	t := api.NewTable()
	ids := []string{"InstanceIds"}
	register(t, "RunInstances", []string{"ImageId", "MinCount", "MaxCount", "ClientToken", "KeyName", "InstanceType", "UserData", "TagSpecifications"}, c.run)
	register(t, "DescribeInstances", []string{"InstanceIds", "Filters"}, c.describeInstances)
	register(t, "DescribeInstanceStatus", []string{"InstanceIds", "IncludeAllInstances"}, c.describeStatus)
	register(t, "DescribeInstanceDetails", ids, c.describeDetails)
	register(t, "StartInstances", ids, func(in *ec2types.StartInstancesInput) (*ec2types.StartInstancesOutput, error) {
		return nil, c.change(in.InstanceIds, model.InstanceStopped, model.InstancePending)
	})
	register(t, "StopInstances", append(ids, "Force"), func(in *ec2types.StopInstancesInput) (*ec2types.StopInstancesOutput, error) {
		return nil, c.change(in.InstanceIds, model.InstanceRunning, model.InstanceStopping)
	})
	register(t, "TerminateInstances", ids, func(in *ec2types.TerminateInstancesInput) (*ec2types.TerminateInstancesOutput, error) {
		return nil, c.change(in.InstanceIds, "", model.InstanceShuttingDown)
	})
	register(t, "RebootInstances", ids, func(in *ec2types.RebootInstancesInput) (*ec2types.RebootInstancesOutput, error) {
		return nil, c.change(in.InstanceIds, model.InstanceRunning, model.InstanceRunning)
	})
	register(t, "GetConsoleOutput", []string{"InstanceId", "Latest"}, c.console)
	register(t, "DescribeImages", []string{"ImageIds", "Filters", "IncludeDisabled", "Owners", "ExecutableUsers"}, c.describeImages)
	c.imageTable(t)
	registryTable(t)
	marketTable(t)
	lanTable(t)
	pipelineTable(t)
	register(t, "CreateImage", []string{"InstanceId", "Name", "NoReboot", "Description"}, c.createImage)
	register(t, "DeregisterImage", []string{"ImageId"}, c.deregister)
	register(t, "DeleteSnapshot", []string{"SnapshotId"}, func(*ec2types.DeleteSnapshotInput) (*ec2types.DeleteSnapshotOutput, error) { return nil, nil })
	register(t, "CreateKeyPair", []string{"KeyName", "KeyType"}, c.createKey)
	register(t, "ImportKeyPair", []string{"KeyName", "PublicKeyMaterial"}, c.importKey)
	register(t, "DescribeKeyPairs", []string{"KeyNames", "KeyPairIds", "IncludePublicKey"}, c.describeKeys)
	register(t, "DeleteKeyPair", []string{"KeyPairId"}, c.deleteKey)
	register(t, "GetImageLock", []string{"ImageId"}, c.lock)
	register(t, "BuildImage", []string{"ContextDigest", "Architecture", "ClientToken", "Name", "NoCache"}, c.build)
	register(t, "DescribeBuilds", []string{"BuildIds", "MaxResults", "NextToken"}, func(*bundttypes.DescribeBuildsInput) (*bundttypes.DescribeBuildsOutput, error) {
		return &bundttypes.DescribeBuildsOutput{Builds: []bundttypes.Build{{
			BuildId: "build-1", RecipeName: "web", RecipeVersion: "1.0", Architecture: "x86_64", State: "failed", ImageId: "ami-1", CreatedAt: made,
			Steps: []bundttypes.BuildStep{{Name: "launch build instance", Phase: "image"}, {Name: "web page", Phase: "build", Error: "exit code 1"}},
		}}}, nil
	})
	register(t, "DescribeBuildCache", nil, func(*bundttypes.DescribeBuildCacheInput) (*bundttypes.DescribeBuildCacheOutput, error) {
		return &bundttypes.DescribeBuildCacheOutput{Entries: []bundttypes.CachedBuild{{
			Key: "sha256:1", RecipeName: "web", Component: "nginx", Depth: 2, Architecture: "x86_64", SizeBytes: 3 << 20, BuildId: "build-1", CreatedAt: made, UsedAt: made,
		}}}, nil
	})
	register(t, "ClearBuildCache", []string{"RecipeName"}, func(in *bundttypes.ClearBuildCacheInput) (*bundttypes.ClearBuildCacheOutput, error) {
		if in.RecipeName != nil && *in.RecipeName != "web" {
			return &bundttypes.ClearBuildCacheOutput{}, nil
		}
		return &bundttypes.ClearBuildCacheOutput{Entries: 1, SizeBytes: 3 << 20}, nil
	})
	register(t, "GetBuildLog", []string{"BuildId", "Step"}, func(in *bundttypes.GetBuildLogInput) (*bundttypes.GetBuildLogOutput, error) {
		return &bundttypes.GetBuildLogOutput{Log: fmt.Sprintf("what step %d printed\n", *in.Step)}, nil
	})
	register(t, "CancelBuild", []string{"BuildId"}, func(*bundttypes.CancelBuildInput) (*bundttypes.CancelBuildOutput, error) { return nil, nil })
	api.RegisterStream(t, api.Stream[bundttypes.WatchBuildInput, bundttypes.Build]{Name: "WatchBuild", Acts: []string{"BuildId"}, Handler: c.watch})
	register(t, "DescribeHost", []string{"Refresh"}, describeHost)
	register(t, "DescribeEndpoint", nil, func(*bundttypes.DescribeEndpointInput) (*bundttypes.DescribeEndpointOutput, error) {
		return &bundttypes.DescribeEndpointOutput{Region: "local-1", Url: "http://127.0.0.1:8773", CredentialsFile: c.credentials}, nil
	})
	register(t, "CreateConsoleLink", nil, func(*bundttypes.CreateConsoleLinkInput) (*bundttypes.CreateConsoleLinkOutput, error) {
		return &bundttypes.CreateConsoleLinkOutput{Url: "http://127.0.0.1:8773/console/sign-in?token=once"}, nil
	})
	register(t, "DescribeLineage", []string{"ImageId", "InstanceId"}, c.lineage)
	c.storageTable(t)
	return t
}

func (c *toyCloud) run(in *ec2types.RunInstancesInput) (*ec2types.RunInstancesOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if in.KeyName != nil && !slices.ContainsFunc(c.keys, func(k *ec2types.KeyPairInfo) bool { return *k.KeyName == *in.KeyName }) {
		return nil, model.Errorf(model.CodeKeyPairNotFound, "The key pair '%s' does not exist", *in.KeyName)
	}
	out := &ec2types.Reservation{}
	for range *in.MaxCount {
		i := &ec2types.Instance{
			InstanceId: new(model.NewID(model.InstancePrefix)), ImageId: in.ImageId, KeyName: in.KeyName,
			InstanceType: new(model.DefaultInstanceType), Architecture: new("x86_64"), PublicIpAddress: new("127.77.0.5"),
			LaunchTime: new(time.Now()), State: state(model.InstancePending),
		}
		if in.InstanceType != nil {
			i.InstanceType = in.InstanceType
		}
		for _, s := range in.TagSpecifications {
			i.Tags = s.Tags
		}
		c.instances = append(c.instances, i)
		out.Instances = append(out.Instances, *i)
	}
	return out, nil
}

func state(s model.InstanceState) *ec2types.InstanceState {
	return &ec2types.InstanceState{Name: new(string(s)), Code: new(s.Code())}
}

func tagsOf(tags []ec2types.Tag) model.Tags {
	m := model.Tags{}
	for _, t := range tags {
		m[*t.Key] = *t.Value
	}
	return m
}

// find returns the instances of these ids, all if there are none.
func (c *toyCloud) find(ids []string) ([]*ec2types.Instance, error) {
	if len(ids) == 0 {
		return c.instances, nil
	}
	var found []*ec2types.Instance
	for _, id := range ids {
		i := slices.IndexFunc(c.instances, func(i *ec2types.Instance) bool { return *i.InstanceId == id })
		if i < 0 {
			return nil, model.Errorf(model.CodeInstanceIDNotFound, "The instance ID '%s' does not exist", id)
		}
		found = append(found, c.instances[i])
	}
	return found, nil
}

func (c *toyCloud) describeInstances(in *ec2types.DescribeInstancesInput) (*ec2types.DescribeInstancesOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, err := c.find(in.InstanceIds)
	if err != nil {
		return nil, err
	}
	match, err := api.MatchFilters(in.Filters, api.FilterBy[*ec2types.Instance]{Tags: func(i *ec2types.Instance) model.Tags { return tagsOf(i.Tags) }})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeInstancesOutput{}
	for _, i := range found {
		if match(i) {
			out.Reservations = append(out.Reservations, ec2types.Reservation{Instances: []ec2types.Instance{*i}})
		}
	}
	return out, nil
}

func (c *toyCloud) describeStatus(in *ec2types.DescribeInstanceStatusInput) (*ec2types.DescribeInstanceStatusOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, err := c.find(in.InstanceIds)
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeInstanceStatusOutput{}
	for _, i := range found {
		reachability := model.ReachabilityInitializing
		if c.looks[*i.InstanceId]++; c.looks[*i.InstanceId] > 2 && !c.stuck {
			reachability = model.ReachabilityPassed
		}
		out.InstanceStatuses = append(out.InstanceStatuses, ec2types.InstanceStatus{
			InstanceId: i.InstanceId, InstanceState: i.State,
			InstanceStatus: &ec2types.InstanceStatusSummary{Details: []ec2types.InstanceStatusDetails{
				{Name: new("reachability"), Status: new(string(reachability))},
			}},
		})
		next := map[model.InstanceState]model.InstanceState{
			model.InstancePending: model.InstanceRunning, model.InstanceStopping: model.InstanceStopped,
			model.InstanceShuttingDown: model.InstanceTerminated,
		}
		if n, ok := next[model.InstanceState(*i.State.Name)]; ok {
			i.State = state(n)
		}
	}
	return out, nil
}

func (c *toyCloud) describeDetails(in *bundttypes.DescribeInstanceDetailsInput) (*bundttypes.DescribeInstanceDetailsOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, err := c.find(in.InstanceIds)
	out := &bundttypes.DescribeInstanceDetailsOutput{}
	for _, i := range found {
		out.InstanceDetails = append(out.InstanceDetails, bundttypes.InstanceDetails{InstanceId: *i.InstanceId, Accelerator: "tcg", LoginUser: "baker"})
	}
	return out, err
}

func (c *toyCloud) change(ids []string, from, to model.InstanceState) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, err := c.find(ids)
	if err != nil {
		return err
	}
	for _, i := range found {
		if from != "" && *i.State.Name != string(from) {
			return model.Errorf(model.CodeIncorrectInstanceState, "The instance '%s' is %s", *i.InstanceId, *i.State.Name)
		}
	}
	for _, i := range found {
		i.State = state(to)
		c.looks[*i.InstanceId] = 0
	}
	return nil
}

func (c *toyCloud) console(in *ec2types.GetConsoleOutputInput) (*ec2types.GetConsoleOutputOutput, error) {
	return &ec2types.GetConsoleOutputOutput{
		InstanceId: in.InstanceId, Output: new(base64.StdEncoding.EncodeToString([]byte("Linux version 6\nlogin: "))),
	}, nil
}

func (c *toyCloud) describeImages(in *ec2types.DescribeImagesInput) (*ec2types.DescribeImagesOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	match, err := api.MatchFilters(in.Filters, api.FilterBy[*ec2types.Image]{
		Names: map[string]func(*ec2types.Image) []string{"name": func(i *ec2types.Image) []string { return []string{*i.Name} }},
		Tags:  func(i *ec2types.Image) model.Tags { return tagsOf(i.Tags) },
	})
	if err != nil {
		return nil, err
	}
	out := &ec2types.DescribeImagesOutput{}
	if slices.Equal(in.ExecutableUsers, []string{"all"}) { // one of another account
		out.Images = append(out.Images, ec2types.Image{ImageId: new("ami-theirs"), Name: new("theirs"), OwnerId: new("999988887777")})
	}
	for _, i := range c.images {
		if match(i) && (len(in.ImageIds) == 0 || slices.Contains(in.ImageIds, *i.ImageId)) {
			out.Images = append(out.Images, *i)
			i.State = new(string(model.ImageAvailable))
		}
	}
	if len(in.ImageIds) > len(out.Images) {
		return nil, model.Errorf(model.CodeImageIDNotFound, "The image id '%v' does not exist", in.ImageIds)
	}
	return out, nil
}

func (c *toyCloud) addImage(id, name, arch string, tags ...ec2types.Tag) *ec2types.Image {
	i := &ec2types.Image{
		ImageId: &id, Name: &name, Architecture: &arch, State: new(string(model.ImagePending)), Tags: tags,
		CreationDate: new(time.Now().UTC().Format(time.RFC3339)),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{Ebs: &ec2types.EbsBlockDevice{
			SnapshotId: new(model.NewID(model.SnapshotPrefix)), VolumeSize: new(int32(1)),
		}}},
	}
	c.images = append(c.images, i)
	return i
}

func (c *toyCloud) createImage(in *ec2types.CreateImageInput) (*ec2types.CreateImageOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.ContainsFunc(c.images, func(i *ec2types.Image) bool { return *i.Name == *in.Name }) {
		return nil, model.Errorf(model.CodeImageNameDuplicate, "AMI name %s is already in use", *in.Name)
	}
	i := c.addImage(model.NewID(model.ImagePrefix), *in.Name, "x86_64")
	i.SourceInstanceId = in.InstanceId
	return &ec2types.CreateImageOutput{ImageId: i.ImageId}, nil
}

func (c *toyCloud) deregister(in *ec2types.DeregisterImageInput) (*ec2types.DeregisterImageOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.images = slices.DeleteFunc(c.images, func(i *ec2types.Image) bool { return *i.ImageId == *in.ImageId })
	return nil, nil
}

func (c *toyCloud) addKey(name, public string) *ec2types.KeyPairInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &ec2types.KeyPairInfo{KeyName: &name, KeyPairId: new(model.NewID(model.KeyPairPrefix)), PublicKey: &public, KeyType: new("ed25519")}
	c.keys = append(c.keys, k)
	return k
}

func (c *toyCloud) createKey(in *ec2types.CreateKeyPairInput) (*ec2types.CreateKeyPairOutput, error) {
	k := c.addKey(*in.KeyName, testPublicKey)
	return &ec2types.CreateKeyPairOutput{KeyName: k.KeyName, KeyPairId: k.KeyPairId, KeyMaterial: new(testPrivateKey)}, nil
}

func (c *toyCloud) importKey(in *ec2types.ImportKeyPairInput) (*ec2types.ImportKeyPairOutput, error) {
	k := c.addKey(*in.KeyName, string(in.PublicKeyMaterial))
	return &ec2types.ImportKeyPairOutput{KeyName: k.KeyName, KeyPairId: k.KeyPairId}, nil
}

func (c *toyCloud) describeKeys(in *ec2types.DescribeKeyPairsInput) (*ec2types.DescribeKeyPairsOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &ec2types.DescribeKeyPairsOutput{}
	for _, k := range c.keys {
		if len(in.KeyNames)+len(in.KeyPairIds) == 0 || slices.Contains(in.KeyNames, *k.KeyName) || slices.Contains(in.KeyPairIds, *k.KeyPairId) {
			out.KeyPairs = append(out.KeyPairs, *k)
		}
	}
	if len(out.KeyPairs) < len(in.KeyNames)+len(in.KeyPairIds) {
		return nil, model.Errorf(model.CodeKeyPairNotFound, "The key pair '%v' does not exist", in.KeyNames)
	}
	return out, nil
}

func (c *toyCloud) deleteKey(in *ec2types.DeleteKeyPairInput) (*ec2types.DeleteKeyPairOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = slices.DeleteFunc(c.keys, func(k *ec2types.KeyPairInfo) bool { return *k.KeyPairId == *in.KeyPairId })
	return nil, nil
}

func (c *toyCloud) upload(_ context.Context, blob io.Reader) (string, int64, error) {
	n, err := io.Copy(io.Discard, blob)
	return "sha256:c0ffee", n, err
}

// build bakes nothing; recipes of the name "broken" fail at it.
func (c *toyCloud) build(in *bundttypes.BuildImageInput) (*bundttypes.BuildImageOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &bundttypes.Build{
		BuildId: model.NewID(model.BuildPrefix), ImageId: model.NewID(model.ImagePrefix), Architecture: *in.Architecture,
		ImageName: "tiny-1.0-" + *in.Architecture, State: string(model.BuildRunning),
	}
	if in.Name != nil {
		b.ImageName = *in.Name
	}
	c.builds = append(c.builds, b)
	return &bundttypes.BuildImageOutput{BuildId: b.BuildId, ImageId: b.ImageId}, nil
}

// lock pins one package of each image, for the architecture that its name ends with.
func (c *toyCloud) lock(in *bundttypes.GetImageLockInput) (*bundttypes.GetImageLockOutput, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.builds {
		if b.ImageId == *in.ImageId {
			l := recipe.Lock{APIVersion: recipe.APIVersion, Packages: map[model.Arch][]recipe.LockedPackage{model.Arch(b.Architecture): {{
				Name: "hello", Package: "hello", Version: "1-" + b.Architecture, Suite: "bookworm", Path: "pool/hello.deb", Size: 1, SHA256: strings.Repeat("0", 64),
			}}}}
			text, err := l.Marshal()
			return &bundttypes.GetImageLockOutput{Lock: string(text)}, err
		}
	}
	return nil, model.Errorf("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", *in.ImageId)
}

func (c *toyCloud) watch(_ context.Context, in *bundttypes.WatchBuildInput, send func(bundttypes.Build) error) error {
	c.mu.Lock()
	b := *c.builds[slices.IndexFunc(c.builds, func(b *bundttypes.Build) bool { return b.BuildId == *in.BuildId })]
	c.mu.Unlock()
	start := time.Now()
	b.Steps = []bundttypes.BuildStep{{Name: "fetch", Detail: "kernel", StartedAt: start}}
	if err := send(b); err != nil {
		return err
	}
	b.Steps = []bundttypes.BuildStep{
		{Name: "fetch", Detail: "kernel", StartedAt: start, FinishedAt: &start, Cached: true},
		{Name: "make disk", StartedAt: start, FinishedAt: new(start.Add(1500 * time.Millisecond))},
	}
	if b.ImageName == "broken" {
		b.State, b.StateReason = string(model.BuildFailed), &bundttypes.StateReason{Code: "Disk", Message: "the disk is too small"}
		return send(b)
	}
	c.mu.Lock()
	c.addImage(b.ImageId, b.ImageName, b.Architecture, ec2types.Tag{Key: new("bundt:recipe"), Value: new("tiny")})
	c.mu.Unlock()
	b.State = string(model.BuildAvailable)
	return send(b)
}

func describeHost(*bundttypes.DescribeHostInput) (*bundttypes.DescribeHostOutput, error) {
	return &bundttypes.DescribeHostOutput{
		Checks: []bundttypes.HostCheck{
			{Name: "QEMU", Status: bundttypes.CheckOK, Detail: "7.2.0"},
			{Name: "KVM", Status: bundttypes.CheckWarn, Detail: "too slow", Fix: "use a machine with VT-x"},
			{Name: "free disk", Status: bundttypes.CheckFail, Detail: "12 MiB", Fix: "free some space"},
		},
		Facts: []bundttypes.HostFact{{Name: "region", Value: "local-1"}},
	}, nil
}

func (c *toyCloud) lineage(*bundttypes.DescribeLineageInput) (*bundttypes.DescribeLineageOutput, error) {
	return &bundttypes.DescribeLineageOutput{Nodes: []bundttypes.LineageNode{
		{Kind: bundttypes.LineageRecipe, Id: "sha256:0123456789abcdef0123", Name: "tiny 1.0"},
		{Kind: bundttypes.LineageImage, Id: "ami-1", Name: "tiny", ParentId: "sha256:0123456789abcdef0123", Architecture: "x86_64", State: "available"},
		{Kind: bundttypes.LineageInstance, Id: "i-1", Name: "web", ParentId: "ami-1", State: "running"},
		{Kind: bundttypes.LineageImage, Id: "ami-2", Name: "web-2", ParentId: "i-1", State: "available", Consistency: string(model.ConsistencyCrash)},
		{Kind: bundttypes.LineageInstance, Id: "i-2", ParentId: "ami-1", State: "terminated"},
	}}, nil
}

// connect joins the client to a guest that sends back what it hears, in capitals.
func (c *toyCloud) connect(context.Context, string, uint16) (net.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		defer l.Close()
		guest, err := l.Accept()
		if err != nil {
			return
		}
		defer guest.Close()
		all, _ := io.ReadAll(guest)
		for i, b := range all {
			if b >= 'a' && b <= 'z' {
				all[i] = b - 'a' + 'A'
			}
		}
		_, _ = guest.Write(all)
	}()
	return net.Dial("tcp", l.Addr().String())
}
