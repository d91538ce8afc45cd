package appspec

import (
	"regexp"
	"slices"
	"strings"
)

// forResources tells an AppSpec file for Amazon ECS or Lambda. One with os is for servers: there the agent passes over
// Resources.
func forResources(root *value) bool {
	return root.getAny("Resources") != nil && root.get("os") == nil
}

// getAny is get for the names of CodeDeploy's own reader, whose pages write them as Resources and as resources.
func (v *value) getAny(key string) *value {
	for _, e := range v.entries {
		if e.key.kind == text && strings.EqualFold(e.key.text, key) {
			return e.value
		}
	}
	return nil
}

var (
	resourceEvents = map[Platform][]string{
		ECS:    {"BeforeInstall", "AfterInstall", "AfterAllowTestTraffic", "BeforeAllowTraffic", "AfterAllowTraffic"},
		Lambda: {"BeforeAllowTraffic", "AfterAllowTraffic"},
	}
	resourceTypes = map[string]Platform{"AWS::ECS::Service": ECS, "AWS::Lambda::Function": Lambda}

	taskDefinition = regexp.MustCompile(`^(arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:task-definition/)?[A-Za-z0-9_-]{1,255}:\d+$`)
	functionName   = regexp.MustCompile(`^(arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:)?[A-Za-z0-9_-]{1,64}(:[A-Za-z0-9$_-]+)?$`)
	versionNumber  = regexp.MustCompile(`^[1-9]\d*$`)
	aliasName      = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
)

// resources is an AppSpec file for Amazon ECS or Lambda on its way through the checks.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-resources.html
type resources struct {
	*report
	platform Platform
}

func checkResources(r *report, root *value) Platform {
	c := &resources{report: r}
	checkVersion(r, root)
	c.knownAny(root, "the file", "version", "Resources", "Hooks")
	c.checkAll(root.getAny("Resources"))
	c.checkHooks(root.getAny("Hooks"))
	return c.platform
}

// knownAny refuses what the pages do not know: nobody can see what CodeDeploy's reader makes of it.
func (c *resources) knownAny(v *value, what string, keys ...string) {
	for _, e := range v.entries {
		if e.key.kind != refused && !slices.ContainsFunc(keys, func(key string) bool { return strings.EqualFold(key, e.key.text) }) {
			c.warn(e.key, "unknown key %s in %s, want %s", quote(e.key.text), what, strings.Join(keys, ", "))
		}
	}
}

func (c *resources) checkAll(list *value) {
	if list.kind == refused {
		return
	}
	items, ok := list.elements()
	if !ok || len(items) != 1 || items[0].kind != mapping || len(items[0].entries) != 1 {
		c.refuse(list, "Resources: got %s, want a list with one resource, a name with Type and Properties", list)
		return
	}
	name, resource := items[0].entries[0].key, items[0].entries[0].value
	if resource.kind != mapping {
		c.refuse(name, "%s: got %s, want Type and Properties", quote(name.text), resource)
		return
	}
	c.knownAny(resource, quote(name.text), "Type", "Properties")
	kind := resource.getAny("Type")
	if kind.missing() || kind.kind != text || resourceTypes[kind.text] == "" {
		c.refuse(orElse(kind, name), "Type: got %s, want AWS::ECS::Service or AWS::Lambda::Function", orNothing(kind))
		return
	}
	c.platform = resourceTypes[kind.text]
	properties := resource.getAny("Properties")
	if properties.missing() || properties.kind != mapping {
		c.refuse(orElse(properties, name), "Properties: got %s, want keys with values", orNothing(properties))
		return
	}
	if c.platform == ECS {
		c.checkService(properties)
	} else {
		c.checkFunction(properties)
	}
}

func orElse(v, other *value) *value {
	if v == nil {
		return other
	}
	return v
}

func orNothing(v *value) *value {
	if v == nil {
		return &value{}
	}
	return v
}

// want refuses a property that is missing, or has not the form.
func (c *resources) want(in *value, key string, form *regexp.Regexp, want string) {
	v := in.getAny(key)
	if v != nil && v.kind == refused {
		return
	}
	if v.missing() || v.kind == list || v.kind == mapping || form != nil && !form.MatchString(v.written) {
		c.refuse(orElse(v, in), "%s: got %s, want %s", key, orNothing(v), want)
	}
}

func (c *resources) checkService(p *value) {
	c.knownAny(p, "Properties", "TaskDefinition", "LoadBalancerInfo", "PlatformVersion", "NetworkConfiguration", "CapacityProviderStrategy")
	if task := p.getAny("TaskDefinition"); task != nil && task.text == "<TASK_DEFINITION>" {
		c.refuse(task, "TaskDefinition: got %s, want the ARN of a task definition: only CodePipeline replaces that", task)
	} else {
		c.want(p, "TaskDefinition", taskDefinition, "the ARN of a task definition, or family:revision")
	}
	if balancer := p.getAny("LoadBalancerInfo"); balancer == nil || balancer.kind != mapping {
		c.refuse(orElse(balancer, p), "LoadBalancerInfo: got %s, want ContainerName and ContainerPort", orNothing(balancer))
	} else {
		c.knownAny(balancer, "LoadBalancerInfo", "ContainerName", "ContainerPort")
		c.want(balancer, "ContainerName", nil, "the name of a container")
		c.want(balancer, "ContainerPort", versionNumber, "a port")
	}
	if network := p.getAny("NetworkConfiguration"); network != nil && network.kind != refused {
		c.checkNetwork(network)
	}
	if strategy := p.getAny("CapacityProviderStrategy"); !strategy.missing() && strategy.kind != list && strategy.kind != refused {
		c.refuse(strategy, "CapacityProviderStrategy: got %s, want a list with Base, CapacityProvider and Weight", strategy)
	}
}

func (c *resources) checkNetwork(network *value) {
	vpc := network.getAny("AwsvpcConfiguration")
	if vpc == nil || vpc.kind != mapping {
		c.refuse(orElse(vpc, network), "NetworkConfiguration: got %s, want AwsvpcConfiguration with Subnets and SecurityGroups", orNothing(vpc))
		return
	}
	for _, key := range []string{"Subnets", "SecurityGroups"} {
		if v := vpc.getAny(key); v == nil && key == "Subnets" || v != nil && v.kind != list && v.kind != refused {
			c.refuse(orElse(v, vpc), "%s: got %s, want a list of ids", key, orNothing(v))
		}
	}
	if v := vpc.getAny("AssignPublicIp"); !v.missing() && v.kind != refused && v.text != "ENABLED" && v.text != "DISABLED" {
		c.refuse(v, "AssignPublicIp: got %s, want ENABLED or DISABLED", v)
	}
}

func (c *resources) checkFunction(p *value) {
	c.knownAny(p, "Properties", "Name", "Alias", "CurrentVersion", "TargetVersion")
	c.want(p, "Name", functionName, "the name of a function")
	c.want(p, "Alias", aliasName, "the name of an alias")
	c.want(p, "CurrentVersion", versionNumber, "the number of a version")
	c.want(p, "TargetVersion", versionNumber, "the number of a version")
	if current, target := p.getAny("CurrentVersion"), p.getAny("TargetVersion"); !current.missing() && !target.missing() &&
		current.text == target.text && versionNumber.MatchString(current.written) {
		c.warn(target, "TargetVersion: got %s, which is CurrentVersion too: no traffic moves", target)
	}
}

// checkHooks reads the functions that CodeDeploy calls.
// https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-hooks.html
func (c *resources) checkHooks(hooks *value) {
	if hooks.missing() || hooks.kind == refused {
		return
	}
	items, ok := hooks.elements()
	if !ok {
		c.refuse(hooks, "Hooks: got %s, want a list such as '- BeforeAllowTraffic: function'", hooks)
		return
	}
	known := resourceEvents[c.platform]
	for _, item := range items {
		if item.kind == refused {
			continue
		}
		if item.kind != mapping || len(item.entries) != 1 {
			c.refuse(item, "Hooks: got %s, want one event with the name of a function", item)
			continue
		}
		event, function := item.entries[0].key, item.entries[0].value
		if c.platform != "" && !slices.Contains(known, event.text) {
			c.refuse(event, "unknown lifecycle event %s, want %s", quote(event.text), oneOf(known))
		}
		if function.kind != refused && (function.kind != text || !functionName.MatchString(function.text)) {
			c.refuse(orElse(function, event), "%s: got %s, want the name or ARN of a function", quote(event.text), function)
		}
	}
}
