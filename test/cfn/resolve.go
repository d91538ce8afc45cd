package cfn

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Unresolved is an intrinsic function that this package cannot work out. The
// functions here panic with it: a guess would prove something else.
type Unresolved struct{ What string }

func (u Unresolved) Error() string { return "template: " + u.What }

func unresolved(format string, args ...any) {
	panic(Unresolved{fmt.Sprintf(format, args...)})
}

// Catch turns a panic with Unresolved into an error.
func Catch(err *error) {
	switch p := recover().(type) {
	case nil:
	case Unresolved:
		*err = p
	default:
		panic(p)
	}
}

// Resolve returns v with every intrinsic function worked out; properties whose
// value is AWS::NoValue are left out.
func (t *Template) Resolve(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 1 {
			for name, argument := range v {
				if name == "Ref" || strings.HasPrefix(name, "Fn::") {
					return t.intrinsic(name, argument)
				}
			}
		}
		out := map[string]any{}
		for key, value := range v {
			if value = t.Resolve(value); value != nil {
				out[key] = value
			}
		}
		return out
	case []any:
		out := []any{}
		for _, value := range v {
			if value = t.Resolve(value); value != nil {
				out = append(out, value)
			}
		}
		return out
	}
	return v
}

func (t *Template) intrinsic(name string, argument any) any {
	switch name {
	case "Ref":
		return t.ref(argument.(string))
	case "Fn::GetAtt":
		if text, ok := argument.(string); ok {
			id, attribute, _ := strings.Cut(text, ".")
			return t.attribute(id, attribute)
		}
		parts := argument.([]any)
		return t.attribute(parts[0].(string), parts[1].(string))
	case "Fn::Join":
		parts := argument.([]any)
		return strings.Join(t.texts(parts[1]), parts[0].(string))
	case "Fn::Sub":
		return t.substitute(argument)
	case "Fn::Select":
		parts := argument.([]any)
		index, err := strconv.Atoi(fmt.Sprint(t.Resolve(parts[0])))
		choices := t.texts(parts[1])
		if err != nil || index < 0 || index >= len(choices) {
			unresolved("Fn::Select of %v from %d values", parts[0], len(choices))
		}
		return choices[index]
	case "Fn::Split":
		parts := argument.([]any)
		var out []any
		for _, part := range strings.Split(fmt.Sprint(t.Resolve(parts[1])), parts[0].(string)) {
			out = append(out, part)
		}
		return out
	case "Fn::If":
		parts := argument.([]any)
		if t.holds(parts[0].(string)) {
			return t.Resolve(parts[1])
		}
		return t.Resolve(parts[2])
	}
	unresolved("%s is not worked out by this package", name)
	return nil
}

// holds tells whether a condition of the template holds. Equality is all that
// the stacks ask for.
func (t *Template) holds(name string) bool {
	condition, _ := t.Conditions[name].(map[string]any)
	sides, ok := condition["Fn::Equals"].([]any)
	if !ok || len(sides) != 2 {
		unresolved("condition %s is no Fn::Equals of two values: %v", name, condition)
	}
	return t.Resolve(sides[0]) == t.Resolve(sides[1])
}

func (t *Template) texts(v any) []string {
	var out []string
	list, ok := t.Resolve(v).([]any)
	if !ok {
		unresolved("want a list, got %v", v)
	}
	for _, part := range list {
		out = append(out, fmt.Sprint(part))
	}
	return out
}

var substitution = regexp.MustCompile(`\$\{([^!][^}]*)\}`)

func (t *Template) substitute(argument any) string {
	format, named := argument, map[string]any{}
	if parts, ok := argument.([]any); ok {
		format, named = parts[0], parts[1].(map[string]any)
	}
	return substitution.ReplaceAllStringFunc(format.(string), func(match string) string {
		name := match[2 : len(match)-1]
		if value, ok := named[name]; ok {
			return fmt.Sprint(t.Resolve(value))
		}
		if id, attribute, ok := strings.Cut(name, "."); ok {
			return fmt.Sprint(t.attribute(id, attribute))
		}
		return fmt.Sprint(t.ref(name))
	})
}

func (t *Template) ref(name string) any {
	switch name {
	case "AWS::AccountId":
		return t.known.Account
	case "AWS::Region":
		return t.known.Region
	case "AWS::Partition":
		return "aws"
	case "AWS::StackId":
		return fmt.Sprintf("arn:aws:cloudformation:%s:%s:stack/stack/01234567-89ab-cdef-0123-456789abcdef", t.known.Region, t.known.Account)
	case "AWS::URLSuffix":
		return "amazonaws.com"
	case "AWS::NoValue":
		return nil
	}
	if value, ok := t.known.Parameters[name]; ok {
		return value
	}
	if parameter, ok := t.Parameters[name]; ok && parameter.Default != nil {
		return parameter.Default
	}
	if _, ok := t.Resources[name]; !ok {
		unresolved("Ref names %s, which is no resource and no parameter with a known value", name)
	}
	return t.Ref(name)
}

// Ref is what the intrinsic function Ref gives for a resource.
func (t *Template) Ref(id string) string {
	switch typ := t.Resources[id].Type; typ {
	case "AWS::S3::Bucket":
		if name, ok := t.Resources[id].Properties["BucketName"]; ok {
			return fmt.Sprint(t.Resolve(name))
		}
		return strings.ToLower(id)
	case "AWS::EC2::EIP":
		return t.address(id)
	case "AWS::EC2::VPCEndpoint":
		return physical("vpce-", id)
	case "AWS::KMS::Key":
		return physical("", id)
	case "AWS::SQS::Queue":
		return "https://sqs." + t.known.Region + ".amazonaws.com/" + t.known.Account + "/" + id
	case "AWS::SNS::Topic", "AWS::SecretsManager::Secret":
		return t.ARN(id)
	case "AWS::SSM::Parameter", "AWS::Logs::LogGroup", "AWS::IAM::Role":
		for _, property := range []string{"Name", "LogGroupName", "RoleName"} {
			if name, ok := t.Resources[id].Properties[property]; ok {
				return fmt.Sprint(t.Resolve(name))
			}
		}
	}
	return id
}

// address stands for an Elastic IP. It is one of the addresses that
// documentation may use (RFC 5737).
func (t *Template) address(id string) string {
	return fmt.Sprintf("198.51.100.%d", 10+slices.Index(t.OfType("AWS::EC2::EIP"), id))
}

// physical makes an id of the form that AWS gives.
func physical(prefix, id string) string {
	sum := sha256.Sum256([]byte(id))
	return prefix + hex.EncodeToString(sum[:])[:17]
}

func (t *Template) attribute(id, name string) any {
	resource, ok := t.Resources[id]
	if !ok {
		unresolved("Fn::GetAtt names %s, which is no resource", id)
	}
	switch {
	case name == "Arn", name == "TopicArn", resource.Type == "AWS::SSM::Document" && name == "DocumentArn":
		return t.ARN(id)
	case name == "PublicIp":
		return t.Ref(id)
	case name == "QueueName", name == "TopicName", name == "Name":
		return id
	case name == "DomainName", name == "DNSName", strings.HasPrefix(resource.Type, "AWS::EC2::"):
		return id
	}
	unresolved("Fn::GetAtt of %s on %s (%s) has no rule here", name, id, resource.Type)
	return nil
}

// arnForms are the ARNs of the types that policies name: service and
// resource, with the name in place of the star.
var arnForms = map[string][2]string{
	"AWS::SQS::Queue":             {"sqs", "*"},
	"AWS::SNS::Topic":             {"sns", "*"},
	"AWS::Lambda::Function":       {"lambda", "function:*"},
	"AWS::Logs::LogGroup":         {"logs", "log-group:*:*"},
	"AWS::SecretsManager::Secret": {"secretsmanager", "secret:*-AbCdEf"},
	"AWS::Events::Rule":           {"events", "rule/*"},
	"AWS::CloudWatch::Alarm":      {"cloudwatch", "alarm:*"},
	"AWS::KMS::Key":               {"kms", "key/*"},
	"AWS::SSM::Document":          {"ssm", "document/*"},
	"AWS::SSM::Parameter":         {"ssm", "parameter*"},
	"AWS::EC2::Instance":          {"ec2", "instance/*"},
	"AWS::Backup::BackupVault":    {"backup", "backup-vault:*"},
	"AWS::IAM::Role":              {"iam", "role/*"},
	"AWS::IAM::ManagedPolicy":     {"iam", "policy/*"},
	"AWS::DLM::LifecyclePolicy":   {"dlm", "policy/*"},
	"AWS::IAM::OIDCProvider":      {"iam", "oidc-provider/*"},
}

// ARN returns the ARN of a resource.
func (t *Template) ARN(id string) string {
	typ := t.Resources[id].Type
	if typ == "AWS::S3::Bucket" {
		return "arn:aws:s3:::" + t.Ref(id)
	}
	form, ok := arnForms[typ]
	if !ok {
		unresolved("the ARN of %s (%s) has no rule here", id, typ)
	}
	name := id
	switch typ {
	case "AWS::SSM::Parameter", "AWS::Logs::LogGroup", "AWS::IAM::Role", "AWS::KMS::Key":
		name = t.Ref(id)
	}
	region := t.known.Region
	if form[0] == "iam" {
		region = ""
	}
	return fmt.Sprintf("arn:aws:%s:%s:%s:%s", form[0], region, t.known.Account, strings.Replace(form[1], "*", name, 1))
}
