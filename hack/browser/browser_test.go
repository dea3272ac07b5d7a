//go:build vm

package browser

import (
	"fmt"
	"math"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-rod/rod"
	"github.com/go-rod/rod/lib/input"
	"github.com/go-rod/rod/lib/launcher"
	"github.com/go-rod/rod/lib/proto"

	"github.com/bundt/bundt/hack/daemontest"
	"github.com/bundt/bundt/images"
	"github.com/bundt/bundt/pkg/api/bundttypes"
	"github.com/bundt/bundt/pkg/api/ec2types"
	"github.com/bundt/bundt/pkg/api/iamtypes"
	"github.com/bundt/bundt/pkg/client"
	"github.com/bundt/bundt/pkg/daemon"
	"github.com/bundt/bundt/pkg/metrics"
)

// session is a browser at the console of a daemon of its own.
type session struct {
	*testing.T
	cloud   *client.Client
	page    *rod.Page
	base    string
	metrics string // directory of the daemon's history

	mu   sync.Mutex
	seen []string // what must not happen: requests elsewhere, violations, dialogs
}

// chromium finds a browser; what to do without one is hack/setup's business.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if out, err := exec.Command("../setup", "lacks", "chromium").CombinedOutput(); err == nil {
		t.Skip("LEFT OUT: this distribution has no package of chromium")
	} else {
		t.Fatalf("there is no chromium (hack/setup test installs it): %s", out)
	}
	return ""
}

// watcher records, in each page, what a page of the console never does. It is the
// debugger's, so that the page's own policy does not keep it out.
const watcher = `
window.__seen = [];
document.addEventListener("securitypolicyviolation", (e) => window.__seen.push("violation of " + e.violatedDirective + " by " + e.blockedURI + " " + e.sample));
for (const name of ["alert", "confirm", "prompt"]) window[name] = (text) => { window.__seen.push(name + ": " + text); };
window.addEventListener("error", (e) => window.__seen.push("error: " + e.message));
`

func open(t *testing.T, width int) *session {
	t.Helper()
	config := daemontest.Config(t)
	s := &session{T: t, cloud: daemontest.Start(t, config, daemon.Parts{}), metrics: filepath.Join(config.DataDir, "metrics")}
	at := launcher.New().Bin(chromium(t)).Leakless(false).Headless(true).NoSandbox(true).
		Set("disable-gpu").Set("disable-quic").Set("disable-background-networking").Set("disable-component-update").Set("disable-sync").Set("no-first-run").
		UserDataDir(t.TempDir())
	control, err := at.Launch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(at.Kill)
	b := rod.New().ControlURL(control)
	s.must(b.Connect())
	s.page, err = b.Page(proto.TargetCreateTarget{})
	s.must(err)
	s.page = s.page.Timeout(2 * time.Minute)
	s.must(s.page.SetViewport(&proto.EmulationSetDeviceMetricsOverride{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 600}))
	_, err = s.page.EvalOnNewDocument(watcher)
	s.must(err)
	link, err := s.cloud.CreateConsoleLink(t.Context(), &bundttypes.CreateConsoleLinkInput{})
	s.must(err)
	u, err := url.Parse(link.Url)
	s.must(err)
	s.base = u.Scheme + "://" + u.Host
	go s.page.EachEvent(func(e *proto.NetworkRequestWillBeSent) {
		if !strings.HasPrefix(e.Request.URL, s.base+"/console/") && !strings.HasPrefix(e.Request.URL, "data:") && !strings.HasPrefix(e.Request.URL, "about:") {
			s.record("a request to " + e.Request.URL)
		}
	})()
	s.must(proto.NetworkEnable{}.Call(s.page))
	s.must(s.page.Navigate(link.Url))
	s.see("h1", "Overview")
	return s
}

func (s *session) record(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, what)
}

func (s *session) must(err error) {
	s.Helper()
	if err != nil {
		s.shoot("failed")
		s.Fatal(err)
	}
}

// clean fails the test for anything that no page may do.
func (s *session) clean() {
	s.Helper()
	got, err := s.page.Eval(`() => window.__seen.splice(0)`)
	s.must(err)
	for _, what := range got.Value.Arr() {
		s.Errorf("%s: %s", s.at(), what.Str())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, what := range s.seen {
		s.Error(what)
	}
	s.seen = nil
}

func (s *session) at() string {
	info, err := s.page.Info()
	if err != nil {
		return "nowhere"
	}
	return strings.TrimPrefix(info.URL, s.base)
}

// visit opens a page of the console by its address.
func (s *session) visit(path string) {
	s.Helper()
	s.must(s.page.Navigate(s.base + "/console/" + path))
	s.must(s.page.WaitLoad())
}

// see waits for an element with such a text, a regular expression, or with any. Pages may be changing.
func (s *session) see(selector, text string) *rod.Element {
	s.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var found bool
		var e *rod.Element
		if text == "" {
			found, e, err = s.page.Has(selector)
		} else {
			found, e, err = s.page.HasR(selector, text)
		}
		if found && err == nil {
			return e
		}
	}
	body := "nothing"
	if text, err := s.page.Eval(`() => document.body.innerText.slice(0, 2000)`); err == nil {
		body = text.Value.Str()
	}
	s.shoot("failed")
	s.Fatalf("%s: there is no %s with %q: %v\n%s", s.at(), selector, text, err, body)
	return nil
}

// press clicks what has such a text.
func (s *session) press(selector, text string) {
	s.Helper()
	s.must(s.see(selector, text).Click(proto.InputMouseButtonLeft, 1))
}

// fill types into a field that can be seen.
func (s *session) fill(selector, text string) {
	s.Helper()
	e := s.see(selector, "")
	s.must(e.SelectAllText())
	s.must(e.Input(text))
}

// shoot keeps a picture where BUNDT_PICTURES says, for people.
func (s *session) shoot(name string) {
	dir := os.Getenv("BUNDT_PICTURES")
	if dir == "" || s.page == nil {
		return
	}
	b, err := s.page.Screenshot(false, nil)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, s.Name()+"-"+name+".png"), b, 0o644)
	}
	if err != nil {
		s.Log("taking a picture: ", err)
	}
}

// bake makes an image of the boot sector.
func (s *session) bake() string {
	s.Helper()
	fsys, err := images.FS("boot-sector")
	s.must(err)
	return daemontest.Bake(s, s.cloud, fsys)
}

// TestStory tells the story of the cake and the recipe by clicks alone: nobody types an
// address, and no page is loaded anew to see what has become of something.
func TestStory(t *testing.T) {
	s := open(t, 1280)
	s.press("a", "Choose a recipe")
	card := s.see("article", "boot-sector")
	button, err := card.ElementR("button", "Build x86_64")
	s.must(err)
	s.must(button.Click(proto.InputMouseButtonLeft, 1))
	s.see("h1", "boot-sector")
	s.see(".state", "available")
	s.shoot("build")
	s.press("nav.side a", "Key pairs")
	s.see("summary", "Create key pair")
	s.press("summary", "Import public key")
	s.fill(`details[open] input[name=name]`, "lab")
	s.fill(`details[open] textarea`, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAZBw0J2jH0pBs5ohFjxzyxO8iHWaXBEwbYN1Sy lab")
	s.press("details[open] button", "Import")
	s.see("td", "lab")

	s.press("nav.side a", "^Images$")
	s.press("td a", "^Launch$")
	s.see("h1", "Launch instances")
	s.fill("input[name=name]", "cake")
	s.see("#commands", "--name cake")
	s.see("#commands", "--key lab")
	s.press("label", "A new one")
	s.see("#commands", "security-group create")
	s.shoot("launch")
	s.press("button", "^Launch$")
	s.see("h1", "cake")
	s.see(".state", "running")
	s.shoot("instance")

	s.press("summary", "Create image")
	s.fill("details[open] input[name=name]", "cake with icing")
	s.press("details[open] button", "Create image")
	s.see("h1", "cake with icing")
	s.see(".state", "available")
	s.press(".actions a", "^Launch$")
	s.fill("input[name=name]", "twin")
	s.press("button", "^Launch$")
	s.see("h1", "twin")
	s.see(".state", "running")
	s.press("nav.side a", "Family tree")
	s.see("li", "cake with icing")
	s.see("li", "twin")
	s.shoot("family")

	s.press("nav.side a", "^Instances$")
	s.press("th button", "^Name$")
	s.must(s.see("tr", "twin").MustElement("input[type=checkbox]").Click(proto.InputMouseButtonLeft, 1))
	s.press(".choose button", "Terminate")
	s.see("dialog h2", "Terminate 1")
	s.shoot("ask")
	s.press("dialog button", "Cancel")
	s.press(".choose button", "Terminate")
	s.press("dialog button.danger", "Terminate")
	s.see(".flash", "Terminating")
	s.see("tr:has(td):not(:has(a[href$=x]))", `twin[\s\S]*terminated`)
	s.clean()
}

// TestLive: a page shows what others do, and keeps what its reader does.
func TestLive(t *testing.T) {
	s := open(t, 1280)
	image := s.bake()
	s.visit("volumes")
	s.see("p", "No volumes")
	s.press("summary", "Create volume")
	s.fill("details[open] input[name=name]", "half typed")
	_, err := s.cloud.RunInstances(t.Context(), &ec2types.RunInstancesInput{ImageId: &image, InstanceType: new("b1.pico"), MinCount: new(int32(2)), MaxCount: new(int32(2))})
	s.must(err)
	s.see(".state", "in-use")
	s.shoot("typed")
	typed, err := s.see("details[open] input[name=name]", "").Property("value")
	s.must(err)
	if typed.Str() != "half typed" {
		t.Errorf("what was typed is %q now", typed.Str())
	}
	s.must(s.page.Keyboard.Press(input.Escape))
	if n := len(s.page.MustElements("details[open]")); n != 0 {
		t.Error("Escape does not close the form")
	}
	tick := s.see("tbody input[type=checkbox]", "")
	s.must(tick.Click(proto.InputMouseButtonLeft, 1))
	s.see("[data-chosen]", "1")
	_, err = s.cloud.CreateVolume(t.Context(), &ec2types.CreateVolumeInput{Size: new(int32(1)), AvailabilityZone: new("local-1a")})
	s.must(err)
	s.see(".state", "available")
	if checked, err := s.see("tbody tr.chosen input", "").Property("checked"); err != nil || !checked.Bool() {
		t.Errorf("what was chosen is no more: %v", err)
	}
	s.clean()
}

// TestColumns: what is hidden of a table stays so, also of rows that come later.
func TestColumns(t *testing.T) {
	s := open(t, 1280)
	image, instance := s.launched()
	s.inside("instances/" + instance)
	s.visit("instances")
	s.press("summary", "⋯")
	s.press("details[open] label", "^Image$")
	visible := func() bool {
		got, err := s.page.Eval(`() => [...document.querySelectorAll("td")].some((e) => e.innerText.includes("ami-") && e.checkVisibility())`)
		s.must(err)
		return got.Value.Bool()
	}
	if visible() {
		t.Error("the images are shown")
	}
	s.must(s.page.Reload())
	_, err := s.cloud.RunInstances(t.Context(), &ec2types.RunInstancesInput{ImageId: &image, InstanceType: new("b1.pico"), MinCount: new(int32(1)), MaxCount: new(int32(1))})
	s.must(err)
	s.see("tr:nth-child(2) .state", "running")
	if visible() {
		t.Error("the images are shown again")
	}
	s.press("summary", "⋯")
	s.shoot("columns")
	s.press("details[open] label", "^Image$")
	if !visible() {
		t.Error("the images are not shown")
	}
	s.clean()
}

// hostile are texts that tenants could give to things.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'-alert(1)-'`, `</textarea><svg onload=alert(1)>`, `javascript:alert(1)`, `{{.}}${alert(1)}`,
	"\u202Eevil", `<iframe src=//evil.example>`, `</title><script src=//evil.example/x.js></script>`, `<a href="javascript:alert(1)">x</a>`,
}

// TestHostileTexts: what a tenant writes is shown as what it is, wherever it is shown.
func TestHostileTexts(t *testing.T) {
	s := open(t, 1280)
	image := s.bake()
	var tags []ec2types.Tag
	for i, text := range hostile {
		tags = append(tags, ec2types.Tag{Key: new(fmt.Sprintf("%d%s", i, text)), Value: &text})
	}
	for _, text := range hostile {
		_, err := s.cloud.RunInstances(t.Context(), &ec2types.RunInstancesInput{
			ImageId: &image, InstanceType: new("b1.pico"), MinCount: new(int32(1)), MaxCount: new(int32(1)),
			TagSpecifications: []ec2types.TagSpecification{{ResourceType: new("instance"), Tags: append([]ec2types.Tag{{Key: new("Name"), Value: &text}}, tags...)}},
		})
		s.must(err)
		_, err = s.cloud.CreateVolume(t.Context(), &ec2types.CreateVolumeInput{Size: new(int32(1)), AvailabilityZone: new("local-1a"), TagSpecifications: []ec2types.TagSpecification{{ResourceType: new("volume"), Tags: []ec2types.Tag{{Key: new("Name"), Value: &text}}}}})
		s.must(err)
	}
	copied, err := s.cloud.CopyImage(t.Context(), &ec2types.CopyImageInput{SourceImageId: &image, SourceRegion: new("local-1"), Name: new("hostile"), Description: new(strings.Join(hostile[:6], " "))})
	s.must(err)
	found, err := s.cloud.DescribeInstances(t.Context(), &ec2types.DescribeInstancesInput{})
	s.must(err)
	pages := []string{"", "instances", "volumes", "images", "lineage", "images/" + *copied.ImageId, "launch?image=" + *copied.ImageId, "instances?q=" + url.QueryEscape(hostile[1]), "images?from=" + url.QueryEscape(hostile[1]), "reach/x?port=" + url.QueryEscape(hostile[1])}
	for _, r := range found.Reservations {
		pages = append(pages, "instances/"+*r.Instances[0].InstanceId)
	}
	for _, path := range pages {
		s.visit(path)
		s.see("#live", ".")
		s.clean()
		if n := len(s.page.MustElements(`#live script, #live iframe, #live svg:not(.chart > svg), #live img[src="x"], #live a[href^="javascript"]`)); n != 0 {
			t.Errorf("%s: %d elements of a tenant's", path, n)
		}
	}
}

// paths are pages of each kind.
func (s *session) paths(image, instance string) []string {
	return []string{"", "instances", "instances/" + instance, "launch", "launch?image=" + image, "images", "images?from=quick-start", "images/" + image, "builds", "lineage", "volumes", "snapshots", "networks", "security-groups", "addresses", "key-pairs", "account", "users/ann", "host", "learn", "learn/cake", "reach/" + instance, "images/" + image + "/diff"}
}

func (s *session) launched() (image, instance string) {
	image = s.bake()
	_, err := s.cloud.CreateUser(s.Context(), &iamtypes.CreateUserInput{UserName: new("ann")})
	s.must(err)
	_, err = s.cloud.AttachUserPolicy(s.Context(), &iamtypes.AttachUserPolicyInput{UserName: new("ann"), PolicyArn: new("arn:aws:iam::aws:policy/ReadOnlyAccess")})
	s.must(err)
	_, err = s.cloud.CreateAccessKey(s.Context(), &iamtypes.CreateAccessKeyInput{UserName: new("ann")})
	s.must(err)
	out, err := s.cloud.RunInstances(s.Context(), &ec2types.RunInstancesInput{ImageId: &image, InstanceType: new("b1.pico"), MinCount: new(int32(1)), MaxCount: new(int32(1)), TagSpecifications: []ec2types.TagSpecification{{ResourceType: new("instance"), Tags: []ec2types.Tag{{Key: new("Name"), Value: new("a name that is rather long, as names are")}, {Key: new("project"), Value: new("bakery")}}}}})
	s.must(err)
	s.measured(*out.Instances[0].InstanceId)
	return image, *out.Instances[0].InstanceId
}

// measured is a history of an instance, with a pause in it.
func (s *session) measured(id string) {
	s.Helper()
	store, err := metrics.Open(s.metrics)
	s.must(err)
	for i := range 55 {
		if i > 20 && i < 26 {
			continue
		}
		values := make([]float64, len(metrics.OfInstances()))
		for n := range values {
			values[n] = (1 + math.Sin(float64(i*(n+2))/9)) * []float64{45, 3e8}[min(n, 1)]
		}
		s.must(store.Record(id, time.Now().Add(time.Duration(i-55)*time.Minute), values))
	}
}

// tap clicks where there is no pointer that could be moved, as on a phone.
func (s *session) tap(e *rod.Element) {
	s.Helper()
	_, err := e.Eval(`() => this.click()`)
	s.must(err)
}

// inside opens a form of an instance, which has to be where one can see all of it.
func (s *session) inside(path string) {
	s.Helper()
	s.visit(path)
	s.tap(s.see("summary", "Create image"))
	s.see("details[open] button", "Create image")
	out, err := s.page.Eval(`() => { const { left, right, top } = document.querySelector("details[open] .pop").getBoundingClientRect(), main = document.querySelector("#main").getBoundingClientRect(); return left < main.left || right > Math.min(innerWidth, screen.width) || top < 0; }`)
	s.must(err)
	if out.Value.Bool() {
		s.Errorf("%s: the form is not all on the page", s.at())
	}
	s.shoot("form")
}

// TestPhone: no page is wider than a phone.
func TestPhone(t *testing.T) {
	s := open(t, 360)
	image, instance := s.launched()
	for _, path := range s.paths(image, instance) {
		s.visit(path)
		s.see("#live", ".")
		// A phone makes room for what is too wide by showing all of it smaller.
		wide, err := s.page.Eval(`() => Math.max(innerWidth, document.documentElement.scrollWidth) - screen.width`)
		s.must(err)
		if wide.Value.Int() > 0 {
			t.Errorf("/console/%s is %d pixels too wide", path, wide.Value.Int())
			s.shoot(strings.NewReplacer("/", "_", "?", "_").Replace(path))
		}
	}
	s.inside("instances/" + instance)
	s.tap(s.see("button.menu", ""))
	s.see("nav.side:popover-open", "")
	s.tap(s.see("nav.side a", "Volumes"))
	s.see("h2", "Volumes")
	s.clean()
}

// unnamed finds what people who do not see the page cannot tell, and texts with too
// little contrast (WCAG 2.2, 1.4.3).
const unnamed = `() => {
	const found = [];
	const tell = (e, what) => found.push(what + ": " + e.outerHTML.slice(0, 120));
	const shown = (e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && e.getClientRects().length > 0;
	for (const e of document.querySelectorAll("a, button, summary")) if (shown(e) && !e.textContent.trim() && !e.getAttribute("aria-label") && !e.querySelector("img[alt]:not([alt=''])")) tell(e, "it has no name");
	for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea")) if (shown(e) && !e.labels.length && !e.getAttribute("aria-label")) tell(e, "it has no label");
	for (const e of document.querySelectorAll("img:not([alt])")) tell(e, "it has no text");
	if (document.querySelectorAll("h1").length !== 1) found.push("the page has " + document.querySelectorAll("h1").length + " headings");
	const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
	for (const id of new Set(ids)) if (ids.filter((i) => i === id).length > 1) found.push("two elements have the id " + id);
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const pixel = (...colors) => { canvas.clearRect(0, 0, 1, 1); for (const c of colors) { canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); } return [...canvas.getImageData(0, 0, 1, 1).data]; };
	const light = ([r, g, b]) => { const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * x + .7152 * y + .0722 * z; };
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walk.nextNode()) {
		const e = walk.currentNode.parentElement;
		if (!walk.currentNode.data.trim() || !shown(e) || e.closest(":disabled, .hidden, .skip, script")) continue;
		const style = getComputedStyle(e), under = [];
		for (let p = e; p; p = p.parentElement) { const s = getComputedStyle(p); if (s.backgroundImage !== "none") { under.length = 0; under.push("#777"); break; } under.unshift(s.backgroundColor); }
		if (under[0] === "#777") continue;
		const back = pixel("#fff", ...under), text = pixel(` + "`rgb(${back.slice(0, 3)})`" + `, style.color);
		const [a, b] = [light(text), light(back)].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
		const big = parseFloat(style.fontSize) >= 24 || parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700;
		if (ratio < (big ? 3 : 4.5)) tell(e, "its contrast is " + ratio.toFixed(2));
	}
	return found;
}`

// TestAccessible: every page can be read without seeing it, and seen by most, in the
// light and in the dark.
func TestAccessible(t *testing.T) {
	s := open(t, 1280)
	paths := s.paths(s.launched())
	for _, scheme := range []string{"light", "dark"} {
		s.must(proto.EmulationSetEmulatedMedia{Features: []*proto.EmulationMediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}.Call(s.page))
		for _, path := range paths {
			s.visit(path)
			s.see("#live", ".")
			got, err := s.page.Eval(unnamed)
			s.must(err)
			for _, what := range got.Value.Arr() {
				t.Errorf("/console/%s in the %s: %s", path, scheme, what.Str())
			}
			s.shoot(scheme + "-" + strings.NewReplacer("/", "_", "?", "_").Replace(path))
		}
	}
	s.clean()
}

// TestTerminal types into a machine's serial port, and sees what it prints, as another
// one does who looks at the same.
func TestTerminal(t *testing.T) {
	s := open(t, 1280)
	_, id := s.launched()
	s.visit("instances/" + id)
	s.see(".state", "running")
	s.press(".actions a", "Serial console")
	s.see(".state", "^connected$")
	other, err := s.cloud.ConnectSerial(t.Context(), id)
	s.must(err)
	defer other.Close()
	s.see(".xterm-rows", "is.up")
	for _, key := range "knock knock" {
		s.must(s.page.Keyboard.Type(input.Key(key)))
	}
	s.see(".xterm-rows", "knock.knock")
	_, err = other.Write([]byte("\r\nwho is there?"))
	s.must(err)
	s.see(".xterm-rows", "who.is.there")
	s.shoot("terminal")
	seen := make([]byte, 64<<10)
	for text := ""; !strings.Contains(text, "who is there?"); {
		n, err := other.Read(seen)
		s.must(err)
		text += string(seen[:n])
	}
	// Escape sequences are the terminal's business, and no page's.
	_, err = other.Write([]byte("\x1b]0;title\a\x1b[31m<img src=x onerror=alert(1)>\x1b[0m"))
	s.must(err)
	s.see(".xterm-rows", "onerror")
	s.clean()
	_, err = s.cloud.TerminateInstances(t.Context(), &ec2types.TerminateInstancesInput{InstanceIds: []string{id}})
	s.must(err)
	s.see(".state", "disconnected")
}

// TestLesson does the lesson of the cake: each step is ticked when it is really done.
func TestLesson(t *testing.T) {
	s := open(t, 1280)
	s.press("nav.side a", "Learn")
	s.press("a", "^Begin$")
	s.see("h1", "The cake and the recipe")
	s.see(".state", "^0 of 6$")
	image := s.bake()
	s.see(".state", "^1 of 6$") // nobody has loaded the page again
	cake := s.run(image)
	s.see(".state", "^2 of 6$")
	s.awaitRunning(cake)
	s.shoot("cake")
	out, err := s.cloud.CreateImage(t.Context(), &ec2types.CreateImageInput{InstanceId: &cake, Name: new("icing"), NoReboot: new(true)})
	s.must(err)
	s.see(".state", "^4 of 6$")
	twin := s.run(*out.ImageId)
	s.see(".state", "^5 of 6$")
	_, err = s.cloud.TerminateInstances(t.Context(), &ec2types.TerminateInstancesInput{InstanceIds: []string{cake, twin}})
	s.must(err)
	for _, id := range []string{image, *out.ImageId} {
		_, err := s.cloud.DeregisterImage(t.Context(), &ec2types.DeregisterImageInput{ImageId: &id})
		s.must(err)
	}
	s.see(".state", "^6 of 6$")
	s.see("p", "That is EC2")
	s.shoot("done")
	s.clean()
}

// run launches an instance.
func (s *session) run(image string) string {
	s.Helper()
	out, err := s.cloud.RunInstances(s.Context(), &ec2types.RunInstancesInput{ImageId: &image, InstanceType: new("b1.pico"), MinCount: new(int32(1)), MaxCount: new(int32(1))})
	s.must(err)
	return *out.Instances[0].InstanceId
}

func (s *session) awaitRunning(id string) {
	s.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		out, err := s.cloud.DescribeInstances(s.Context(), &ec2types.DescribeInstancesInput{InstanceIds: []string{id}})
		s.must(err)
		if *out.Reservations[0].Instances[0].State.Name == "running" {
			return
		}
	}
	s.Fatalf("%s does not run", id)
}
