// Command demo tells bundt's whole story on real machines: from a recipe to a
// running machine, and from the running machine to its twin. It drives the
// binaries in bin/ as a user would, checks every step, prints how long each
// took, and fails loudly when one is not really so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/bundt/bundt/hack/harness"
)

func main() {
	bin := flag.String("bin", "bin", "directory of the binaries bundt and bundtd")
	dir := flag.String("dir", ".demo", "directory for everything the demo makes; removed first")
	keep := flag.Bool("keep", false, "leave the daemon's data when done")
	cache := flag.String("cache", "", "directory of downloads and finished bake steps (default: bundtd's own)")
	accel := flag.String("accel", "", "force an accelerator: kvm or tcg")
	arch := flag.String("arch", hostArch(), "architecture of the machines: x86_64, arm64 or i386")
	guest := flag.String("guest", "tiny", "what the machines are: tiny or debian")
	console := flag.Bool("console", false, "serve the web console until interrupted, instead of telling the story")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d, err := newDemo(*bin, *dir, *cache, *accel, *arch, *guest)
	if err == nil {
		tell := d.tell
		if *console {
			tell = d.serveConsole
		}
		err = tell(ctx)
		err = errors.Join(err, d.end(*keep && err != nil))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nThe demo FAILED: %v\n", err)
		os.Exit(1)
	}
}

func hostArch() string {
	if runtime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x86_64"
}

// demo is the story's state.
type demo struct {
	cloud   *cloud
	guest   guest
	arch    string
	timings []timing

	image, first, snapshot, twin string // ids
	page                         string
	before, after                identity
}

type timing struct {
	what string
	took time.Duration
}

func newDemo(bin, dir, cache, accel, arch, kind string) (*demo, error) {
	g, ok := guests[kind]
	if !ok {
		return nil, fmt.Errorf("there is no guest %q: choose tiny or debian", kind)
	}
	c, err := newCloud(bin, dir, cache, accel)
	if err != nil {
		return nil, err
	}
	return &demo{cloud: c, guest: g, arch: arch, page: fmt.Sprintf("<h1>The cake of %s</h1>", time.Now().Format(time.RFC3339Nano))}, nil
}

// tell runs the story's steps in order.
func (d *demo) tell(ctx context.Context) error {
	for _, s := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"Start the daemon", d.cloud.Start},
		{"Look at the host", d.doctor},
		{"Build the AMI '" + d.guest.recipe + "' from its recipe", d.build},
		{"Make a key pair", d.key},
		{"Run an instance and wait until it is reachable", d.run},
		{"Log in, write a web page, start the web server", d.decorate},
		{"Fetch the page from the host", func(ctx context.Context) error { return d.fetch(ctx, d.first) }},
		{"Create an AMI while the instance runs and keeps writing", d.createImage},
		{"Run the twin from the new AMI", d.runTwin},
		{"Fetch the same page from the twin", func(ctx context.Context) error { return d.fetch(ctx, d.twin) }},
		{"Compare identities", d.compare},
		{"Show the lineage", d.lineage},
		{"Terminate everything", d.terminate},
		{"Delete the images", d.deleteImages},
		{"Look for anything left behind", d.inventory},
	} {
		fmt.Printf("\n\033[1m==> %s\033[0m\n", s.title)
		start := time.Now()
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(s.title[:1])+s.title[1:], err)
		}
		d.timings = append(d.timings, timing{s.title, time.Since(start)})
	}
	return nil
}

// end stops the daemon, shows the timings, and removes what the demo made.
func (d *demo) end(keep bool) error {
	d.cloud.Stop()
	if len(d.timings) > 0 {
		fmt.Printf("\n\033[1mTimings\033[0m\n")
		var total time.Duration
		for _, t := range d.timings {
			fmt.Printf("  %8.2f s  %s\n", t.took.Seconds(), t.what)
			total += t.took
		}
		fmt.Printf("  %8.2f s  in all\n", total.Seconds())
	}
	if keep {
		fmt.Printf("\nWhat the demo made is in %s\n", d.cloud.Dir)
		return nil
	}
	return errors.Join(d.cloud.Purge(), os.RemoveAll(d.cloud.Dir))
}

func (d *demo) doctor(ctx context.Context) error {
	return d.cloud.show(ctx, "doctor")
}

func (d *demo) build(ctx context.Context) (err error) {
	d.image, err = d.cloud.ask(ctx, "build", filepath.Join("images", d.guest.recipe), "--arch", d.arch)
	if err != nil {
		return err
	}
	return d.cloud.show(ctx, "image", "ls")
}

func (d *demo) key(ctx context.Context) error {
	return d.cloud.show(ctx, "key", "create", "demo", "--file", d.cloud.keyFile())
}

// userData leaves a mark, by which the demo sees that the script has run.
const userData = "#!/bin/sh\necho \"user data was here\" > /var/lib/user-data-was-here\n"

func (d *demo) run(ctx context.Context) (err error) {
	script := filepath.Join(d.cloud.Dir, "user-data.sh")
	if err := os.WriteFile(script, []byte(userData), 0o600); err != nil {
		return fmt.Errorf("writing the user data: %w", err)
	}
	d.first, err = d.cloud.ask(ctx, "run", d.image, "--name", "cake", "--key", "demo", "--type", d.guest.size, "--user-data", script, "-o", "name")
	if err != nil {
		return err
	}
	if err := d.cloud.show(ctx, "ls"); err != nil {
		return err
	}
	return harness.Until(ctx, 3*time.Minute, "the user-data script has run", func() error {
		out, err := d.cloud.ssh(ctx, d.first, "cat /var/lib/user-data-was-here")
		if err == nil && out != "user data was here" {
			err = fmt.Errorf("its mark says %q", out)
		}
		return err
	})
}

// decorate changes the cake: a page, a web server that also starts at boot, and
// a program that never stops writing.
func (d *demo) decorate(ctx context.Context) error {
	script := strings.ReplaceAll(d.guest.decorate, "PAGE", d.page) + diary
	_, err := d.cloud.ssh(ctx, d.first, script)
	return err
}

func (d *demo) fetch(ctx context.Context, instance string) error {
	return harness.Until(ctx, 2*time.Minute, "the page is served", func() error {
		body, how, err := d.cloud.get(ctx, instance)
		if err != nil {
			return err
		}
		if strings.TrimSpace(body) != d.page {
			return fmt.Errorf("the page says %q, not %q", body, d.page)
		}
		fmt.Printf("%s\n  via %s\n", strings.TrimSpace(body), how)
		return nil
	})
}

// createImage makes an image under the running, writing instance, and sees that
// it did run and write on.
func (d *demo) createImage(ctx context.Context) (err error) {
	up, err := d.cloud.ssh(ctx, d.first, "cat /proc/sys/kernel/random/boot_id; wc -l < /var/log/diary")
	if err != nil {
		return err
	}
	d.snapshot, err = d.cloud.ask(ctx, "create-image", d.first, "--name", "decorated", "--no-reboot")
	if err != nil {
		return err
	}
	now, err := d.cloud.ssh(ctx, d.first, "cat /proc/sys/kernel/random/boot_id; wc -l < /var/log/diary")
	if err != nil {
		return err
	}
	oldBoot, oldLines, _ := strings.Cut(up, "\n")
	newBoot, newLines, _ := strings.Cut(now, "\n")
	if oldBoot != newBoot {
		return errors.New("the instance was rebooted")
	}
	if oldLines == newLines {
		return fmt.Errorf("the instance stopped writing: its diary still has %s lines", strings.TrimSpace(oldLines))
	}
	fmt.Printf("the instance ran on: its diary had %s lines before and has %s now\n", strings.TrimSpace(oldLines), strings.TrimSpace(newLines))
	return d.cloud.show(ctx, "image", "ls")
}

func (d *demo) runTwin(ctx context.Context) (err error) {
	d.twin, err = d.cloud.ask(ctx, "run", d.snapshot, "--name", "twin", "--key", "demo", "--type", d.guest.size, "-o", "name")
	return err
}

func (d *demo) lineage(ctx context.Context) error {
	out, err := d.cloud.ask(ctx, "lineage", d.twin)
	if err != nil {
		return err
	}
	fmt.Println(out)
	for _, id := range []string{d.image, d.first, d.snapshot, d.twin} {
		if !strings.Contains(out, id) {
			return fmt.Errorf("%s is missing from the lineage", id)
		}
	}
	return nil
}

func (d *demo) terminate(ctx context.Context) error {
	return d.cloud.show(ctx, "rm", d.first, d.twin)
}

func (d *demo) deleteImages(ctx context.Context) error {
	return d.cloud.show(ctx, "image", "delete", d.snapshot, d.image)
}

// inventory asks the daemon what it has on the host, and the host itself.
func (d *demo) inventory(ctx context.Context) error {
	return harness.Until(ctx, 20*time.Second, "nothing is left", func() error {
		left, err := d.cloud.leftovers(ctx)
		if err != nil {
			return err
		}
		if len(left) > 0 {
			return fmt.Errorf("left behind:\n  %s", strings.Join(left, "\n  "))
		}
		fmt.Println("no process, no socket, no overlay")
		return nil
	})
}
