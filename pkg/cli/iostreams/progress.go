package iostreams

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

const frameInterval = 100 * time.Millisecond

var frames = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

// Progress tells a person on Err what is being done: a live line with the time
// elapsed on a terminal, else a line at the start and one at the end. All
// methods may be called on nil, which says nothing.
type Progress struct {
	s     *IOStreams
	start time.Time
	stop  chan struct{}
	done  sync.WaitGroup

	mu     sync.Mutex
	label  string // what is being done
	detail string // how far it is
}

// StartProgress begins to show that label is being done. End it with Done or
// Stop.
func (s *IOStreams) StartProgress(label string) *Progress {
	if s.quiet {
		return nil
	}
	p := &Progress{s: s, start: time.Now(), label: label, stop: make(chan struct{})}
	if !s.errTTY {
		fmt.Fprintln(s.Err, label)
		return p
	}
	p.done.Add(1)
	go p.animate()
	return p
}

// Detail says how far the work is. Without a terminal it is not shown: it
// changes too often for a log.
func (p *Progress) Detail(detail string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.detail = detail
}

// Line prints a line above the live one.
func (p *Progress) Line(line string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.s.errTTY {
		fmt.Fprint(p.s.Err, "\r\x1b[K")
	}
	fmt.Fprintln(p.s.Err, line)
}

// Done ends the progress with a line that says what was reached and how long it took.
func (p *Progress) Done(result string) {
	if p == nil {
		return
	}
	p.end()
	elapsed := p.s.OnErr(Dim, ShortDuration(time.Since(p.start)))
	fmt.Fprintf(p.s.Err, "%s %s %s\n", p.s.OnErr(Good, "✓"), result, elapsed)
}

// Stop ends the progress and says nothing: the error that follows does.
func (p *Progress) Stop() {
	if p != nil {
		p.end()
	}
}

func (p *Progress) end() {
	select {
	case <-p.stop:
		return
	default:
	}
	close(p.stop)
	p.done.Wait()
}

func (p *Progress) animate() {
	defer p.done.Done()
	tick := time.NewTicker(frameInterval)
	defer tick.Stop()
	for i := 0; ; i++ {
		p.draw(frames[i%len(frames)])
		select {
		case <-p.stop:
			p.mu.Lock()
			fmt.Fprint(p.s.Err, "\r\x1b[K")
			p.mu.Unlock()
			return
		case <-tick.C:
		}
	}
}

func (p *Progress) draw(frame rune) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := p.label
	if p.detail != "" {
		text += ": " + p.detail
	}
	elapsed := ShortDuration(time.Since(p.start))
	// A line that wraps could not be overwritten: cut it to the terminal.
	room := p.s.errWidth() - len(elapsed) - 4
	if r := []rune(text); len(r) > room && room > 1 {
		text = string(r[:room-1]) + "…"
	}
	fmt.Fprintf(p.s.Err, "\r\x1b[K%s %s %s", p.s.OnErr(Busy, string(frame)), text, p.s.OnErr(Dim, elapsed))
}

func (s *IOStreams) errWidth() int {
	if f, ok := s.Err.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

// ShortDuration is d as people say it: 0.4s, 12s, 3m05s.
func ShortDuration(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
}
