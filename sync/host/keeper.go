// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// keeper keeps offloads of devices off until they are restored, and has a
// restorer wherever something is off. Each change is told before it is made.
type keeper struct {
	tool     *ethtool
	mu       sync.Mutex
	held     map[int]hold // by ifindex
	restorer *restorer
	// inherited is what another process has turned off, and still restores
	// should it end: see own.
	inherited map[int]hold
}

func newKeeper(tool *ethtool) *keeper {
	return &keeper{tool: tool, held: make(map[int]hold), inherited: make(map[int]hold)}
}

// turnOff turns off what is on of a device's features, and keeps what it was. It
// may be called again.
func (k *keeper) turnOff(ifindex int, names []string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	on, link, err := findOn(k.tool, ifindex, names)
	if err != nil {
		return err
	}
	before, again := k.held[ifindex]
	again = again && before.Device == on.Device
	if len(on.Features) == 0 {
		return nil
	}
	whole := on
	if again { // somebody has turned on what was off already
		whole.Features = slices.Concat(on.Features, before.Features)
		slices.Sort(whole.Features)
		whole.Features = slices.Compact(whole.Features)
	}
	if err := k.watched(); err != nil {
		return err
	}
	if err := k.restorer.tell(whole); err != nil {
		return err
	}
	k.held[ifindex] = whole
	if err := on.apply(k.tool, link); err != nil {
		return errors.Join(err, k.restoreLocked(ifindex))
	}
	return nil
}

// restore turns on again what was turned off of a device.
func (k *keeper) restore(ifindex int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h, ok := k.inherited[ifindex]; ok {
		if _, _, err := h.restore(k.tool); err != nil {
			return fmt.Errorf("restore offloads: %w", err)
		}
		delete(k.inherited, ifindex)
	}
	return k.restoreLocked(ifindex)
}

func (k *keeper) restoreLocked(ifindex int) error {
	h, ok := k.held[ifindex]
	if !ok {
		return nil
	}
	if _, _, err := h.restore(k.tool); err != nil {
		return fmt.Errorf("restore offloads: %w", err) // it stays with the restorer
	}
	delete(k.held, ifindex)
	if !k.restorer.alive() {
		return nil
	}
	return k.restorer.tell(hold{IfIndex: ifindex})
}

// holds tells whether something of the device is kept off.
func (k *keeper) holds(ifindex int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.held[ifindex]
	_, too := k.inherited[ifindex]
	return ok || too
}

// check starts another restorer where the last has ended.
func (k *keeper) check() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.held) == 0 {
		return nil
	}
	return k.watched()
}

// watched sees to it that there is a restorer that knows of everything held.
func (k *keeper) watched() error {
	if k.restorer.alive() {
		return nil
	}
	if k.restorer != nil {
		_ = k.restorer.close()
		k.restorer = nil
	}
	r, err := startRestorer()
	if err != nil {
		return err
	}
	for _, h := range k.held {
		if err := r.tell(h); err != nil {
			return errors.Join(err, r.close())
		}
	}
	k.restorer = r
	return nil
}

// close restores everything that is its own and ends the restorer, which tries
// again what failed.
func (k *keeper) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for ifindex := range k.held {
		errs = append(errs, k.restoreLocked(ifindex))
	}
	if k.restorer != nil {
		errs = append(errs, k.restorer.close())
		k.restorer = nil
	}
	return errors.Join(errs...)
}
