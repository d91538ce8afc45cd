package machine

// Redacted is a text without the Secrets, and without colours.
func (m *Machine) Redacted(text string) string { return m.redact(text) }
