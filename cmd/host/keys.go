//go:build unix

package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

func newKeys(p program) *cobra.Command {
	var address string
	command := &cobra.Command{
		Use:   "keys --external-url URL",
		Short: "Show the public keys that GitLab signs with",
		Long: `Shows the public keys that the GitLab on this host signs with, those of its jobs'
tokens among them. It asks GitLab itself, at localhost, as the load balancer does: nobody
in between can put other keys in their place. A line for each address that has some:

    keys /-/jwks {"keys":[…]}`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := matching("external-url", address, `https://[a-z0-9.-]+`, "https://HOST"); err != nil {
				return usageError{err}
			}
			header := http.Header{}
			header.Set("Host", strings.TrimPrefix(address, "https://"))
			header.Set("X-Forwarded-Proto", "https")
			header.Set("X-Forwarded-Port", "443")
			found := false
			for _, path := range []string{"/oauth/discovery/keys", "/-/jwks"} {
				status, body, err := p.machine.Get(c.Context(), "http://localhost"+path, header)
				text := strings.NewReplacer("\r", "", "\n", "").Replace(body)
				if err != nil || status != http.StatusOK || !strings.HasPrefix(text, "{") || len(text) > maxKeys {
					continue
				}
				fmt.Fprintf(p.stdout, "keys %s %s\n", path, text)
				found = true
			}
			if !found {
				return errors.New("GitLab shows no keys at http://localhost, neither /oauth/discovery/keys nor /-/jwks: is it running (scripts/ops status)?")
			}
			return nil
		},
	}
	command.Flags().StringVar(&address, "external-url", "", "the address that users see (required)")
	return command
}

// maxKeys bounds what is shown of an address, in bytes: Systems Manager keeps 24,000
// characters of all.
const maxKeys = 11000
