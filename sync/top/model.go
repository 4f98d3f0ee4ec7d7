// SPDX-License-Identifier: Apache-2.0

package top

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"
)

// Config says where samples come from and how often.
type Config struct {
	Sample   func(context.Context) (Sample, error)
	Interval time.Duration
}

// Run shows the live view on the terminal until the user ends it.
func Run(ctx context.Context, c Config) error {
	_, err := tea.NewProgram(newModel(ctx, c), tea.WithContext(ctx), tea.WithOutput(os.Stdout)).Run()
	if err != nil && !errors.Is(err, tea.ErrInterrupted) {
		return fmt.Errorf("show the live view: %w", err)
	}
	return nil
}

type model struct {
	ctx    context.Context
	config Config

	last           Sample
	bridges, ports []Rate
	err            error
	samples        int

	order         Order
	reverse       bool
	paused        bool
	scroll        int
	width, height int
}

func newModel(ctx context.Context, c Config) model {
	return model{ctx: ctx, config: c, width: 80, height: 24}
}

// sampled is an answer of the daemon; due asks for the next.
type (
	sampled struct {
		Sample
		err error
	}
	due struct{}
)

func (m model) ask() tea.Msg {
	s, err := m.config.Sample(m.ctx)
	return sampled{s, err}
}

func (m model) wait() tea.Cmd {
	return tea.Tick(m.config.Interval, func(time.Time) tea.Msg { return due{} })
}

// Init implements tea.Model.
func (m model) Init() tea.Cmd { return m.ask }

// Update implements tea.Model.
func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case due:
		if m.paused {
			return m, m.wait()
		}
		return m, m.ask
	case sampled:
		m.sampled(msg)
		return m, m.wait()
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m.key(msg.String())
	}
	return m, nil
}

func (m *model) sampled(s sampled) {
	if m.err = s.err; s.err != nil {
		return
	}
	if m.samples++; m.samples > 1 {
		m.bridges, m.ports = Rates(m.last, s.Sample)
	}
	m.last = s.Sample
}

func (m model) key(k string) (tea.Model, tea.Cmd) {
	orders := map[string]Order{"l": ByLane, "o": ByOVS, "b": ByBits, "x": ByLost, "n": ByName}
	if o, ok := orders[k]; ok {
		m.order, m.scroll = o, 0
		return m, nil
	}
	switch k {
	case "q", "esc", "ctrl+c":
		return m, tea.Quit
	case "r":
		m.reverse = !m.reverse
	case "p", "space":
		m.paused = !m.paused
	case "down", "j":
		m.scroll++
	case "up", "k":
		m.scroll--
	case "pgdown":
		m.scroll += m.room()
	case "pgup":
		m.scroll -= m.room()
	}
	m.scroll = max(min(m.scroll, len(m.ports)-m.room()), 0)
	return m, nil
}
