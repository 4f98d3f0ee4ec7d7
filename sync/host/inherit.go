// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Holds are what a process keeps off of devices, for the process that takes its
// place.
type Holds []hold

// Held lists what TurnOff has turned off.
func (h *Host) Held() Holds {
	h.keeper.mu.Lock()
	defer h.keeper.mu.Unlock()
	list := Holds(slices.Collect(maps.Values(h.keeper.held)))
	slices.SortFunc(list, func(a, b hold) int { return cmp.Compare(a.IfIndex, b.IfIndex) })
	return list
}

// Inherit takes over what another process keeps off. That one still restores
// it, until Own here and then Leave there: between them both would.
func (h *Host) Inherit(held Holds) {
	h.keeper.mu.Lock()
	defer h.keeper.mu.Unlock()
	for _, one := range held {
		h.keeper.inherited[one.IfIndex] = one
	}
}

// Own has this process restore what it has inherited, however it ends.
func (h *Host) Own() error {
	if err := h.keeper.own(); err != nil {
		return fmt.Errorf("see to it that offloads are restored: %w", plain(err))
	}
	return nil
}

// Leave leaves everything as it is to another process, that owns it now.
func (h *Host) Leave() error { return h.keeper.leave() }

func (k *keeper) own() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.inherited) == 0 {
		return nil
	}
	for ifindex, h := range k.inherited {
		if mine, ok := k.held[ifindex]; ok && mine.Device == h.Device {
			h.Features = slices.Concat(h.Features, mine.Features)
			slices.Sort(h.Features)
			h.Features = slices.Compact(h.Features)
		}
		k.held[ifindex] = h
	}
	inherited := k.inherited
	k.inherited = make(map[int]hold)
	if !k.restorer.alive() {
		return k.watched() // which tells it of everything
	}
	var errs []error
	for ifindex := range inherited {
		errs = append(errs, k.restorer.tell(k.held[ifindex]))
	}
	return errors.Join(errs...)
}

func (k *keeper) leave() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for ifindex := range k.held {
		if k.restorer.alive() {
			errs = append(errs, k.restorer.tell(hold{IfIndex: ifindex}))
		}
	}
	clear(k.held)
	if k.restorer != nil {
		errs = append(errs, k.restorer.close())
		k.restorer = nil
	}
	return errors.Join(errs...)
}
