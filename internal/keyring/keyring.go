// Package keyring brings the file of GitLab's public keys up to date with what GitLab shows.
package keyring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gitlab-codedeploy/internal/trust"
)

// Read takes the answer of the hosts' program: a line for each address that shows keys. A key that is shown at
// both is one; the same name for two keys is a mistake of GitLab's, or worse.
func Read(answer string) (trust.Keys, error) {
	var all trust.Keys
	for line := range strings.Lines(answer) {
		rest, is := strings.CutPrefix(strings.TrimSpace(line), "keys ")
		if !is {
			continue
		}
		path, text, _ := strings.Cut(rest, " ")
		keys, err := trust.ReadKeys([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("%s of GitLab: %w", path, err)
		}
		for _, key := range keys {
			i := slices.IndexFunc(all, func(k trust.Key) bool { return k.ID == key.ID })
			switch {
			case i < 0:
				all = append(all, key)
			case !all[i].Public.Equal(key.Public):
				return nil, fmt.Errorf("%s of GitLab: got another key of the name %q than at the other address, want one", path, key.ID)
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("GitLab shows no keys that it could sign with")
	}
	return all, nil
}

// Change is what an update does to the file.
type Change struct {
	Added, Removed, Replaced []string // names of keys
	Kept                     []string // GitLab does not show them any more, and they stay
	Next                     trust.Keys
}

// Compare says how the keys that were known become those that GitLab shows. With keep, those stay that it does not show
// any more: for the hours in which tokens that were signed with them are valid.
func Compare(known, shown trust.Keys, keep bool) Change {
	c := Change{Next: slices.Clone(shown)}
	find := func(keys trust.Keys, id string) int {
		return slices.IndexFunc(keys, func(k trust.Key) bool { return k.ID == id })
	}
	for _, k := range shown {
		switch i := find(known, k.ID); {
		case i < 0:
			c.Added = append(c.Added, k.ID)
		case !known[i].Public.Equal(k.Public):
			c.Replaced = append(c.Replaced, k.ID)
		}
	}
	for _, k := range known {
		switch {
		case find(shown, k.ID) >= 0:
		case keep:
			c.Kept, c.Next = append(c.Kept, k.ID), append(c.Next, k)
		default:
			c.Removed = append(c.Removed, k.ID)
		}
	}
	for _, ids := range [][]string{c.Added, c.Removed, c.Replaced, c.Kept} {
		slices.Sort(ids)
	}
	return c
}

// Nothing says whether the file stays as it is.
func (c Change) Nothing() bool { return len(c.Added)+len(c.Removed)+len(c.Replaced) == 0 }

func (c Change) String() string {
	var lines strings.Builder
	for _, part := range []struct {
		sign string
		ids  []string
		note string
	}{
		{"+", c.Added, "GitLab signs, or has begun to sign, with it"},
		{"!", c.Replaced, "GitLab shows ANOTHER key of this name: find out why before you go on"},
		{"-", c.Removed, "GitLab does not show it any more; tokens that were signed with it are refused from the next deploy on"},
		{"=", c.Kept, "GitLab does not show it any more; kept"},
	} {
		for _, id := range part.ids {
			fmt.Fprintf(&lines, "%s %s  %s\n", part.sign, id, part.note)
		}
	}
	return lines.String()
}

// Write replaces the file in one step: whoever reads it finds the old keys or the new ones.
func Write(file string, keys trust.Keys) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-")
	if err != nil {
		return fmt.Errorf("write GitLab's keys: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write GitLab's keys: %w", err)
		}
	}()
	if _, err = f.Write(keys.Encode()); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
