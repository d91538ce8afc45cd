// Package packagestest plays rpm, and who signs packages, on a played host.
package packagestest

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"gitlab-codedeploy/internal/gitlab"
	"gitlab-codedeploy/internal/machine/machinetest"
)

// Key is a key in the place of GitLab's, whose secret half nobody has: its file, and what
// it is known by.
func Key(id string) (file string, key gitlab.SigningKey) {
	file, fingerprint := made()
	return file, gitlab.SigningKey{ID: id, Fingerprints: []string{fingerprint}}
}

var made = sync.OnceValues(func() (file, fingerprint string) {
	entity, err := NewEntity()
	if err != nil {
		panic(err)
	}
	file, err = File(entity)
	if err != nil {
		panic(err)
	}
	return file, fmt.Sprintf("%X", entity.PrimaryKey.Fingerprint)
})

// NewEntity makes a key, an elliptic one: they are made in no time.
func NewEntity() (*openpgp.Entity, error) {
	return openpgp.NewEntity("GitLab, Inc.", "", "packages@example.com", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
}

// File is the file of keys' public halves.
func File(entities ...*openpgp.Entity) (string, error) {
	var text bytes.Buffer
	w, err := armor.Encode(&text, openpgp.PublicKeyType, nil)
	if err != nil {
		return "", err
	}
	for _, entity := range entities {
		if err := entity.Serialize(w); err != nil {
			return "", err
		}
	}
	err = w.Close()
	return text.String() + "\n", err
}

// Serve plays a page with a text.
func Serve(h *machinetest.Host, url, text string) {
	h.OnPage(url, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
}

// RPM is rpm's database.
type RPM struct {
	// Installed are packages as name-version-release.
	Installed []string
}

// Play makes it the host's: what is asked for, taken out, and given to it as a key.
func (r *RPM) Play(h *machinetest.Host) {
	h.Answers("rpm -q rpm", "rpm-4.11.3\n")
	h.On("rpm -q --queryformat", func(c machinetest.Call) int {
		missing := 0
		for _, name := range c.Args[4:] {
			found := slices.DeleteFunc(slices.Clone(r.Installed), func(p string) bool { return !Is(p, name) })
			for _, p := range found {
				c.Print("%s\n", p)
			}
			if len(found) == 0 {
				c.Print("package %s is not installed\n", name)
				missing++
			}
		}
		return missing
	})
	h.On("rpm -e --nodeps --noscripts", func(c machinetest.Call) int {
		before := len(r.Installed)
		r.Installed = slices.DeleteFunc(r.Installed, func(p string) bool { return p == c.Args[len(c.Args)-1] })
		if len(r.Installed) == before {
			return 1
		}
		return 0
	})
	h.Answers("rpm --import", "")
}

// Is says whether a package is of that name, and not of one that begins with it.
func Is(pack, name string) bool {
	rest, is := strings.CutPrefix(pack, name+"-")
	return is && rest != "" && rest[0] >= '0' && rest[0] <= '9'
}
