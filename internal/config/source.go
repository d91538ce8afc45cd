package config

import "strconv"

// Source is a configuration that still knows where each of its values stands, for what is found out about them after
// loading.
type Source struct {
	document *document
}

// Place is where a value stands in its file.
type Place struct {
	File string
	Line int
	Path string // such as "deploy.artifacts.readerRoles[0]"
}

func (p Place) String() string { return p.File + ":" + strconv.Itoa(p.Line) + ": " + p.Path }

// LoadSource is Load for a caller that names places.
func LoadSource(dir, environment string) (*Source, error) {
	file, text, err := readFile(dir, environment)
	if err != nil {
		return nil, err
	}
	d, err := readDocument(file, environment, text)
	if err != nil {
		return nil, err
	}
	if d.config.Keys, err = readKeys(dir, environment); err != nil {
		return nil, err
	}
	return &Source{d}, nil
}

// Config is the configuration. Nobody changes it.
func (s *Source) Config() *Config { return &s.document.config }

// Place says where a value stands. The value is given by a pointer into Config, so that nobody names a key that does
// not exist. It panics for any other pointer, and for a key that was left out and has no default.
func (s *Source) Place(value any) Place {
	at := s.document.places[value]
	if at == nil {
		panic("config: no place in " + s.document.file + " for this value")
	}
	return Place{s.document.file, at.line, at.path}
}

// Partition is the second part of every ARN in the Region.
func (c Config) Partition() string { return partitionOf(c.Region) }
