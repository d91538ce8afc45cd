// Package beginning makes the file of a new environment: what can be found out in both accounts, and a commented file with
// it.
package beginning

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"gitlab-codedeploy/internal/config"
)

// Group is a deployment group of CodeDeploy.
type Group struct{ Application, DeploymentGroup string }

// Answers are the values of a new environment; what is left out there has its default.
type Answers struct {
	Environment, Region            string
	GitLabAccount, DeployAccount   string
	Network                        Network
	Zones                          []string
	AllowedRanges                  []string
	DomainName                     string
	CertificateARN                 string             // or:
	HostedZone                     *config.HostedZone // one of the two
	GitLabVersion, RunnerVersion   string
	ServerSystem                   string // the operating system
	ServerImage, RunnerImage       string
	ServerInstance, RunnerInstance string
	Bucket                         string
	AlarmEmail                     string // "": none
	Groups                         []Group
}

// values are the answers by their keys, as YAML.
func (a Answers) values() map[string]string {
	values := map[string]string{
		"environment": text(a.Environment), "region": text(a.Region),
		"gitlab.account": strconv.Quote(a.GitLabAccount), "deploy.account": strconv.Quote(a.DeployAccount),
		"gitlab.network.vpcCidr": text(a.Network.VPC), "gitlab.network.publicSubnets": list(a.Network.Public), "gitlab.network.gitlabSubnet": text(a.Network.GitLab),
		"gitlab.network.zones": list(a.Zones), "gitlab.loadBalancer.allowedRanges": list(a.AllowedRanges), "gitlab.loadBalancer.domainName": text(a.DomainName),
		"gitlab.server.version": text(a.GitLabVersion), "gitlab.server.operatingSystem": text(a.ServerSystem), "gitlab.server.imageId": text(a.ServerImage), "gitlab.server.instanceType": text(a.ServerInstance),
		"gitlab.runner.version": text(a.RunnerVersion), "gitlab.runner.imageId": text(a.RunnerImage), "gitlab.runner.instanceType": text(a.RunnerInstance),
		"deploy.artifacts.bucketName": text(a.Bucket),
	}
	if zone := a.HostedZone; zone != nil {
		values["gitlab.loadBalancer.hostedZone.id"], values["gitlab.loadBalancer.hostedZone.name"] = text(zone.ID), text(zone.Name)
	} else {
		values["gitlab.loadBalancer.certificateArn"] = text(a.CertificateARN)
	}
	if a.AlarmEmail != "" {
		values["gitlab.alarmEmail"], values["deploy.alarmEmail"] = text(a.AlarmEmail), text(a.AlarmEmail)
	}
	if len(a.Groups) > 0 {
		values[groups+"[0].application"], values[groups+"[0].deploymentGroup"] = text(a.Groups[0].Application), text(a.Groups[0].DeploymentGroup)
	}
	return values
}

const groups = "deploy.deploymentGroups"

var bare = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9._/@:+-]*$|^[0-9]+(\.[0-9]+){2,3}(/[0-9]+)?$`)

// text is a string as YAML: without quotes where nothing else could be meant.
func text(value string) string {
	switch strings.ToLower(value) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		return strconv.Quote(value)
	}
	if bare.MatchString(value) && !strings.HasSuffix(value, ":") {
		return value
	}
	return strconv.Quote(value)
}

func list(values []string) string {
	var texts []string
	for _, value := range values {
		texts = append(texts, text(value))
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// File makes an environment's file of the example: its keys in their order with its comments, and the values of the
// answers. What has a default gets it, and what may be left out is a comment. The values of the example are in no case
// taken over: it may be somebody's environment.
func File(example []byte, answers Answers) ([]byte, error) {
	values := answers.values()
	lines := strings.Split(string(example), "\n")
	lines = append(header(answers.Environment), lines[firstBlank(lines):]...)
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], "staging.jwks.json", answers.Environment+".jwks.json")
	}
	for _, key := range []string{"hostedZone", "certificateArn"} {
		lines = uncomment(lines, key)
	}
	file, err := parser.ParseBytes([]byte(strings.Join(lines, "\n")), 0)
	if err != nil || len(file.Docs) != 1 {
		return nil, fmt.Errorf("the example is no YAML document: %w", err)
	}
	keys := map[string]config.Key{}
	for _, key := range config.Keys() {
		keys[key.Path] = key
	}
	e := &editor{lines: lines, values: values, keys: keys, end: map[int]int{}, replace: map[int][]string{}}
	if err := e.mapping(file.Docs[0].Body, ""); err != nil {
		return nil, err
	}
	for path := range values {
		if !slices.Contains(e.seen, path) {
			return nil, fmt.Errorf("the example does not have the key %s", path)
		}
	}
	if len(answers.Groups) > 1 {
		e.addGroups(answers.Groups[1:])
	}
	return []byte(strings.Join(e.text(), "\n")), nil
}

func header(environment string) []string {
	return []string{
		"# yaml-language-server: $schema=./schema.json",
		"# The settings of the environment " + strconv.Quote(environment) + ", begun by scripts/ops init. Comments say what a key means, its unit, and its default or",
		"# that it is required; a key that is a comment is left out. Everything is checked before any stack is made",
		"# (internal/config); all mistakes are reported at once.",
	}
}

func firstBlank(lines []string) int {
	return max(0, slices.IndexFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" }))
}

// uncomment takes the mark of a comment from a key and what is below it, if the key is a comment.
func uncomment(lines []string, key string) []string {
	out := slices.Clone(lines)
	mark := regexp.MustCompile(`^( *)# ` + key + `:`)
	for i, line := range lines {
		found := mark.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		prefix := found[1] + "# "
		out[i] = found[1] + strings.TrimPrefix(line, prefix)
		for j := i + 1; j < len(lines) && strings.HasPrefix(lines[j], prefix+"  "); j++ {
			out[j] = found[1] + strings.TrimPrefix(lines[j], prefix)
		}
		break
	}
	return out
}

// editor changes the lines of the example where its tree says that a value stands.
type editor struct {
	lines    []string
	values   map[string]string
	keys     map[string]config.Key
	seen     []string         // keys that have got their value
	end      map[int]int      // of what is replaced: the last line, by the first
	replace  map[int][]string // and what stands there then
	groupEnd int              // the last line of the first deployment group
}

// mapping edits each key of a mapping that stands at a path.
func (e *editor) mapping(node ast.Node, path string) error {
	m, is := node.(*ast.MappingNode)
	if !is {
		return fmt.Errorf("the example has no mapping at %q", path)
	}
	for _, entry := range m.Values {
		if err := e.key(entry, strings.TrimPrefix(path+"."+entry.Key.GetToken().Value, ".")); err != nil {
			return err
		}
	}
	return nil
}

func (e *editor) key(entry *ast.MappingValueNode, path string) error {
	key, known := e.keys[path]
	first, last := entry.Key.GetToken().Position.Line-1, lastLine(entry)
	value, answered := e.values[path]
	switch {
	case !known:
		return fmt.Errorf("the example has the key %s, which is none", path)
	case answered:
		e.seen = append(e.seen, path)
		e.put(first, last, value)
	case e.answeredBelow(path):
		return e.mapping(entry.Value, path)
	case path == groups:
		elements, is := entry.Value.(*ast.SequenceNode)
		if !is || len(elements.Values) == 0 {
			return fmt.Errorf("the example has no list at %s", path)
		}
		if len(elements.Values) > 1 { // with the comments above the next one
			e.end[lastLine(elements.Values[0])+1], e.replace[lastLine(elements.Values[0])+1] = last, nil
		}
		e.groupEnd = lastLine(elements.Values[0])
		return e.mapping(elements.Values[0], path+"[0]")
	case key.Default != "":
		if key.Text {
			key.Default = text(key.Default)
		}
		e.put(first, last, key.Default)
	case key.Optional:
		e.comment(first, last)
	case isMapping(entry.Value):
		return e.mapping(entry.Value, path)
	default:
		return fmt.Errorf("nothing is known of the required key %s", path)
	}
	return nil
}

func isMapping(node ast.Node) bool {
	_, is := node.(*ast.MappingNode)
	return is
}

// answeredBelow says whether there are answers in the mapping at a path.
func (e *editor) answeredBelow(path string) bool {
	for answered := range e.values {
		if strings.HasPrefix(answered, path+".") {
			return true
		}
	}
	return false
}

// put sets the value of the key on a line. Its old value may have taken more of them.
func (e *editor) put(first, last int, value string) {
	key, _, _ := strings.Cut(e.lines[first], ":")
	e.end[first], e.replace[first] = last, []string{key + ": " + value}
}

// comment makes a comment of a key and its value.
func (e *editor) comment(first, last int) {
	indent := len(e.lines[first]) - len(strings.TrimLeft(e.lines[first], " "))
	var out []string
	for _, line := range e.lines[first : last+1] {
		if len(line) > indent {
			line = line[:indent] + "# " + line[indent:]
		}
		out = append(out, line)
	}
	e.end[first], e.replace[first] = last, out
}

// addGroups puts more deployment groups behind the first one.
func (e *editor) addGroups(more []Group) {
	var added []string
	for _, group := range more {
		added = append(added, "    - application: "+text(group.Application), "      deploymentGroup: "+text(group.DeploymentGroup))
	}
	for first, last := range e.end {
		if last == e.groupEnd && first <= last {
			e.replace[first] = append(e.replace[first], added...)
			return
		}
	}
	e.end[e.groupEnd], e.replace[e.groupEnd] = e.groupEnd, append([]string{e.lines[e.groupEnd]}, added...)
}

func (e *editor) text() []string {
	var out []string
	for i := 0; i < len(e.lines); i++ {
		last, edited := e.end[i]
		if !edited {
			out = append(out, e.lines[i])
			continue
		}
		out = append(out, e.replace[i]...)
		i = last
	}
	return out
}

// lastLine is the number, from 0, of the last line that a node stands on.
func lastLine(node ast.Node) int {
	last := 0
	ast.Walk(visitor(func(node ast.Node) {
		tokens := []*token.Token{node.GetToken()}
		if sequence, is := node.(*ast.SequenceNode); is {
			tokens = append(tokens, sequence.End)
		}
		for _, t := range tokens {
			if t != nil && t.Position != nil {
				last = max(last, t.Position.Line-1)
			}
		}
	}), node)
	return last
}

type visitor func(ast.Node)

func (v visitor) Visit(node ast.Node) ast.Visitor {
	if _, is := node.(*ast.CommentGroupNode); !is {
		v(node)
	}
	return v
}
