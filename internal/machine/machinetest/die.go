package machinetest

// Die kills the program in the middle of a command that is being played, for
// [Host.RunKilledAt] with 0.
func (h *Host) Die(where string) {
	h.dead = true
	panic(killed{where})
}
