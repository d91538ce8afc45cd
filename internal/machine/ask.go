package machine

import "context"

// AskTo is Ask for a command whose output has a taker of its own, which gets all of it:
// Ask keeps the end of what is long.
func (m *Machine) AskTo(ctx context.Context, c Command) error { return m.run(ctx, c) }
