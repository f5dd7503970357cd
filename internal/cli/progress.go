package cli

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// meter redraws one line on stderr while something long runs. It draws only on
// a terminal, and nothing with --quiet or --json.
type meter struct {
	a     *app
	began time.Time
	stop  chan struct{}
	done  sync.WaitGroup
	line  func(elapsed time.Duration) string
}

const redraw = 200 * time.Millisecond

// watch starts a meter; the returned function ends it and wipes its line.
func (a *app) watch(line func(elapsed time.Duration) string) (end func()) {
	f, ok := a.err.(*os.File)
	if !ok || a.quiet || a.json || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	m := &meter{a: a, began: time.Now(), stop: make(chan struct{}), line: line}
	m.done.Add(1)
	go m.run()
	return func() {
		close(m.stop)
		m.done.Wait()
	}
}

func (m *meter) run() {
	defer m.done.Done()
	t := time.NewTicker(redraw)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s := m.line(time.Since(m.began))
			if w := width(m.a.err, m.a.getenv); w > 0 && utf8.RuneCountInString(s) >= w {
				s = string([]rune(s)[:w-1])
			}
			fmt.Fprintf(m.a.err, "\r\x1b[K%s", s)
		case <-m.stop:
			fmt.Fprint(m.a.err, "\r\x1b[K")
			return
		}
	}
}

// gauge renders "[=====>    ] 42%" of a known total, a count otherwise.
func gauge(done, total int64) string {
	if total <= 0 || done > total {
		return formatCount(done)
	}
	const cells = 24
	full := int(cells * done / total)
	bar := strings.Repeat("=", full)
	if full < cells {
		bar += ">" + strings.Repeat(" ", cells-full-1)
	}
	return fmt.Sprintf("[%s] %3d%%  %s/%s", bar, 100*done/total, formatCount(done), formatCount(total))
}

// eta is what is left at the pace so far; "" while it can't be told, which it
// can from one percent on.
func eta(done, total int64, elapsed time.Duration) string {
	if total <= 0 || done <= 0 || done >= total || 100*done < total || elapsed < time.Second {
		return ""
	}
	left := time.Duration(float64(elapsed) * float64(total-done) / float64(done))
	return "  ETA " + left.Round(time.Second).String()
}

func perSecond(n int64, elapsed time.Duration) float64 {
	if elapsed <= 0 {
		return 0
	}
	return float64(n) / elapsed.Seconds()
}
