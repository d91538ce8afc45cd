package review

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// permission is one statement as a row: who may do what to what.
type permission struct {
	sign                           string
	ID, At, Sid, Effect            string
	Actions, Resources, Principals side
	Condition                      map[string]any
}

// side is one side of a statement, or all but it.
type side struct {
	Values []any
	Not    bool
}

// widens says whether the row can let somebody do more than before: what is allowed now, or not forbidden any more.
func (p permission) widens() bool { return (p.Effect == "Allow") == (p.sign == "+") }

func signed(sign string, rows []permission) []permission {
	for i := range rows {
		rows[i].sign = sign
	}
	return rows
}

func isPolicy(value any) bool {
	_, has := object(value)["Statement"]
	return has
}

// policiesIn calls found for every policy document below a value, wherever a type of resource keeps it.
func policiesIn(value any, path []string, found func(at string, document map[string]any)) {
	if written, is := value.(string); is && len(path) > 0 && path[len(path)-1] == "PolicyDocument" {
		if json.Unmarshal([]byte(written), &value) != nil {
			return
		}
	}
	if isPolicy(value) {
		found(strings.Join(path, "."), object(value))
		return
	}
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			policiesIn(value[key], append(slices.Clone(path), key), found)
		}
	case []any:
		for i, element := range value {
			policiesIn(element, append(slices.Clone(path), strconv.Itoa(i)), found)
		}
	}
}

// names are those of a principal, an action or a resource.
func names(value any) (all []any) {
	kinds, is := value.(map[string]any)
	if !is {
		return list(value)
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		for _, name := range list(kinds[kind]) {
			if kind != "AWS" {
				name = kind + ": " + text(name)
			}
			all = append(all, name)
		}
	}
	return all
}

func targets(statement map[string]any, name string) side {
	if not, has := statement["Not"+name]; has {
		return side{names(not), true}
	}
	return side{Values: names(statement[name])}
}

func newPermission(id, at string, statement map[string]any, who []any) permission {
	p := permission{ID: id, At: at, Sid: text(statement["Sid"]), Effect: text(statement["Effect"]), Actions: targets(statement, "Action"),
		Resources: targets(statement, "Resource"), Principals: targets(statement, "Principal"), Condition: object(statement["Condition"])}
	if len(p.Principals.Values) == 0 {
		p.Principals = side{Values: who}
	}
	return p
}

// invocation is a function's permission, which becomes a statement of its resource policy.
// https://docs.aws.amazon.com/lambda/latest/api/API_AddPermission.html
func invocation(properties map[string]any) map[string]any {
	found := object(plain(properties))
	condition := map[string]any{}
	if arn := found["SourceArn"]; arn != nil {
		condition["ArnLike"] = map[string]any{"aws:SourceArn": arn}
	}
	if account := found["SourceAccount"]; account != nil {
		condition["StringEquals"] = map[string]any{"aws:SourceAccount": account}
	}
	return map[string]any{"Effect": "Allow", "Action": found["Action"], "Resource": found["FunctionName"], "Principal": found["Principal"], "Condition": condition}
}

func permissionsOf(id string, resource map[string]any) (rows []permission) {
	properties := object(resource["Properties"])
	if resource["Type"] == "AWS::Lambda::Permission" {
		return []permission{newPermission(id, "", invocation(properties), nil)}
	}
	itself := []any{"${" + id + "}"}
	var who []any
	for _, kind := range []string{"Roles", "Users", "Groups"} {
		who = append(who, list(plain(properties[kind]))...)
	}
	if len(who) == 0 {
		who = itself
	}
	policiesIn(properties, nil, func(at string, document map[string]any) {
		for _, statement := range list(object(plain(document))["Statement"]) {
			rows = append(rows, newPermission(id, at, object(statement), who))
		}
	})
	for _, arn := range list(plain(properties["ManagedPolicyArns"])) {
		rows = append(rows, newPermission(id, "ManagedPolicyArns", map[string]any{"Effect": "Allow", "Action": "policy " + text(arn)}, itself))
	}
	return rows
}

// rule is a rule of a security group as a row.
type rule struct {
	sign                          string
	Group, Direction, Ports, Peer string
}

func signedRules(sign string, rows []rule) []rule {
	for i := range rows {
		rows[i].sign = sign
	}
	return rows
}

func ports(found map[string]any) string {
	protocol, from, to := text(found["IpProtocol"]), text(found["FromPort"]), text(found["ToPort"])
	switch {
	case protocol == "-1":
		return "everything"
	case from == "" || from == "-1":
		return protocol + " all"
	case from == to:
		return protocol + " " + from
	}
	return protocol + " " + from + "-" + to
}

func newRule(group, direction string, properties any) rule {
	found := object(plain(properties))
	peer := "unknown"
	for _, key := range []string{"CidrIp", "CidrIpv6", "SourceSecurityGroupId", "DestinationSecurityGroupId", "SourcePrefixListId", "DestinationPrefixListId"} {
		if value := found[key]; value != nil {
			peer = text(value)
			break
		}
	}
	return rule{Group: group, Direction: direction, Ports: ports(found), Peer: peer}
}

// everywhere is the way out of a group without rules of its own for it.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ec2-securitygroup.html
var everywhere = []any{map[string]any{"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}}

func rulesOf(id string, resource map[string]any) (rows []rule) {
	properties := object(resource["Properties"])
	switch resource["Type"] {
	case "AWS::EC2::SecurityGroup":
		group := "${" + id + ".GroupId}"
		for _, r := range list(properties["SecurityGroupIngress"]) {
			rows = append(rows, newRule(group, "in", r))
		}
		out := everywhere
		if own := properties["SecurityGroupEgress"]; own != nil {
			out = list(own)
		}
		for _, r := range out {
			rows = append(rows, newRule(group, "out", r))
		}
	case "AWS::EC2::SecurityGroupIngress":
		rows = append(rows, newRule(text(plain(properties["GroupId"])), "in", properties))
	case "AWS::EC2::SecurityGroupEgress":
		rows = append(rows, newRule(text(plain(properties["GroupId"])), "out", properties))
	}
	return rows
}
