package omnibus

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/creachadair/tomledit"
	"github.com/creachadair/tomledit/parser"
	"github.com/creachadair/tomledit/scanner"
	"go.yaml.in/yaml/v3"
)

// What the last reconfigure has written for Rails and for Gitaly is in force, and not what
// gitlab.rb says, which is a program.
const (
	railsSettings  = "/var/opt/gitlab/gitlab-rails/etc/gitlab.yml"
	gitalySettings = "/var/opt/gitlab/gitaly/config.toml"
	// omnibus-gitlab: files/gitlab-cookbooks/gitlab/attributes/default.rb
	defaultBackups = "/var/opt/gitlab/backups"
)

// BackupFolder is where GitLab puts its backups: gitlab_rails['backup_path'].
// omnibus-gitlab: files/gitlab-cookbooks/gitlab/templates/default/gitlab.yml.erb
func (g GitLab) BackupFolder() (string, error) {
	rails, err := g.rails()
	if err != nil {
		return "", err
	}
	return cmp.Or(rails.at("backup", "path").text(), defaultBackups), nil
}

// Storage is a storage of repositories.
type Storage struct {
	// Address is Gitaly's.
	Address string
	// Folder is where the repositories are on this host, "" when another host has them.
	Folder string
}

// Storages are all that GitLab knows, by their names. Which of them are on this host is
// told by the address: a Gitaly that was moved to another host leaves its settings behind.
// https://docs.gitlab.com/administration/gitaly/configure_gitaly/
func (g GitLab) Storages() (map[string]Storage, error) {
	here, err := g.gitalyStorages()
	if err != nil {
		return nil, err
	}
	rails, err := g.rails()
	if err != nil {
		return nil, err
	}
	found := map[string]Storage{}
	// As 13.10 to 18.11 write them: a map with "gitaly_address" by name.
	for name, storage := range rails.at("repositories", "storages").all() {
		s := Storage{Address: storage.at("gitaly_address").text()}
		if isHere(s.Address) {
			s.Folder = here[name] // not Praefect's, whose names are others
		}
		found[name] = s
	}
	if len(found) == 0 {
		for name, folder := range here {
			found[name] = Storage{Folder: folder}
		}
	}
	return found, nil
}

// isHere says whether an address of Gitaly is this host's own: a socket, or an address that
// is the same on each host.
func isHere(address string) bool {
	if address == "" || strings.HasPrefix(address, "unix:") {
		return true
	}
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// gitalyStorages are the folders of this host's own Gitaly, by name. Its texts are in single
// quotes until 15.9, and in double ones from 15.10 on.
// omnibus-gitlab: files/gitlab-cookbooks/gitaly/templates/default/gitaly-config.toml.erb
func (g GitLab) gitalyStorages() (map[string]string, error) {
	text, err := g.Machine.ReadFile(gitalySettings)
	if err != nil {
		return nil, err
	}
	file, err := tomledit.Parse(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s is not TOML: %w", gitalySettings, err)
	}
	found := map[string]string{}
	for _, section := range file.Sections {
		if !section.TableName().Equals(parser.Key{"storage"}) {
			continue
		}
		values := map[string]string{}
		for _, item := range section.Items {
			if pair, is := item.(*parser.KeyValue); is {
				values[pair.Name.String()] = unquoted(pair.Value.String())
			}
		}
		if values["name"] != "" && values["path"] != "" {
			found[values["name"]] = values["path"]
		}
	}
	return found, nil
}

// unquoted is the text that a TOML string stands for, "" for no string.
func unquoted(raw string) string {
	switch {
	case len(raw) < 2 || raw[0] != raw[len(raw)-1]:
		return ""
	case raw[0] == '\'':
		return raw[1 : len(raw)-1]
	case raw[0] == '"':
		text, _ := scanner.Unescape([]byte(raw[1 : len(raw)-1]))
		return string(text)
	}
	return ""
}

// node is a part of a YAML file that may not be there.
type node struct{ *yaml.Node }

// rails are the settings of Rails' production.
func (g GitLab) rails() (node, error) {
	text, err := g.Machine.ReadFile(railsSettings)
	if err != nil {
		return node{}, err
	}
	var file yaml.Node
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		return node{}, fmt.Errorf("%s is not YAML: %w", railsSettings, err)
	}
	if len(file.Content) == 0 {
		return node{}, nil
	}
	return node{file.Content[0]}.at("production"), nil
}

// at is what keys lead to. Of several equal ones the last counts, as in Ruby.
func (n node) at(keys ...string) node {
	for _, key := range keys {
		n = n.all()[key]
	}
	return n
}

// all are the values of a map.
func (n node) all() map[string]node {
	found := map[string]node{}
	if n.Node == nil {
		return found
	}
	if n.Kind == yaml.AliasNode {
		return node{n.Alias}.all()
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			found[n.Content[i].Value] = node{n.Content[i+1]}
		}
	}
	return found
}

func (n node) text() string {
	if n.Node == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}
