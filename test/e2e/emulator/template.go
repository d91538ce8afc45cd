package emulator

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// property reads a property of a resource into value, with the references of
// the template resolved; false when the template does not set it. Its shape is
// the template's.
func (s *Stack) property(id, name string, value any) (bool, error) {
	raw, ok := s.resources[id].Properties[name]
	if !ok {
		return false, nil
	}
	resolved, err := s.resolve(raw)
	if err != nil {
		return false, fmt.Errorf("%s of %s: %w", name, id, err)
	}
	text, err := json.Marshal(resolved)
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(text, value); err != nil {
		return false, fmt.Errorf("%s of %s: %w", name, id, err)
	}
	return true, nil
}

// resolve replaces the intrinsic functions that the CDK writes into what is
// replayed. One it does not know is an error, not a guess.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
func (s *Stack) resolve(value any) (any, error) {
	switch v := value.(type) {
	case []any:
		list := make([]any, 0, len(v))
		for _, item := range v {
			resolved, err := s.resolve(item)
			if err != nil {
				return nil, err
			}
			list = append(list, resolved)
		}
		return list, nil
	case map[string]any:
		if len(v) == 1 {
			for name, argument := range v {
				if name == "Ref" || strings.HasPrefix(name, "Fn::") {
					return s.call(name, argument)
				}
			}
		}
		object := make(map[string]any, len(v))
		for key, item := range v {
			resolved, err := s.resolve(item)
			if err != nil {
				return nil, err
			}
			object[key] = resolved
		}
		return object, nil
	default:
		return value, nil
	}
}

func (s *Stack) call(function string, argument any) (any, error) {
	switch function {
	case "Ref":
		return s.ref(fmt.Sprint(argument))
	case "Fn::GetAtt":
		list, _ := argument.([]any)
		if len(list) != 2 {
			return nil, fmt.Errorf("Fn::GetAtt of %v", argument)
		}
		return s.attribute(fmt.Sprint(list[0]), fmt.Sprint(list[1]))
	case "Fn::Join":
		list, _ := argument.([]any)
		if len(list) != 2 {
			return nil, fmt.Errorf("Fn::Join of %v", argument)
		}
		parts, err := s.resolve(list[1])
		if err != nil {
			return nil, err
		}
		var text []string
		for _, part := range parts.([]any) {
			text = append(text, fmt.Sprint(part))
		}
		return strings.Join(text, fmt.Sprint(list[0])), nil
	case "Fn::Sub":
		return s.substitute(fmt.Sprint(argument))
	default:
		return nil, fmt.Errorf("%s is not known here: add it to resolve", function)
	}
}

func (s *Stack) ref(name string) (any, error) {
	if value, ok := map[string]string{
		"AWS::Partition": "aws", "AWS::Region": s.region, "AWS::AccountId": s.account.ID,
		"AWS::StackName": s.Name, "AWS::URLSuffix": "amazonaws.com",
	}[name]; ok {
		return value, nil
	}
	if value, ok := s.parameters[name]; ok {
		return value, nil
	}
	if value, ok := s.physical[name]; ok {
		return value, nil
	}
	return nil, fmt.Errorf("reference to %s, which moto has not created", name)
}

// attribute knows ARNs, which is all that is asked for so far.
func (s *Stack) attribute(id, name string) (any, error) {
	physical, err := s.ref(id)
	if err != nil {
		return nil, err
	}
	if name == "Arn" {
		switch s.resources[id].Type {
		case "AWS::S3::Bucket":
			return fmt.Sprintf("arn:aws:s3:::%s", physical), nil
		case "AWS::SQS::Queue":
			url := fmt.Sprint(physical)
			return fmt.Sprintf("arn:aws:sqs:%s:%s:%s", s.region, s.account.ID, url[strings.LastIndex(url, "/")+1:]), nil
		case "AWS::Lambda::Function":
			return fmt.Sprintf("arn:aws:lambda:%s:%s:function:%s", s.region, s.account.ID, physical), nil
		case "AWS::Events::Rule":
			return fmt.Sprintf("arn:aws:events:%s:%s:rule/%s", s.region, s.account.ID, physical), nil
		case "AWS::IAM::Role":
			return fmt.Sprintf("arn:aws:iam::%s:role/%s", s.account.ID, physical), nil
		}
	}
	return nil, fmt.Errorf("attribute %s of %s (%s) is not known here: add it to attribute", name, id, s.resources[id].Type)
}

var variable = regexp.MustCompile(`\$\{([A-Za-z0-9:]+)\}`)

func (s *Stack) substitute(text string) (any, error) {
	var failed error
	result := variable.ReplaceAllStringFunc(text, func(match string) string {
		value, err := s.ref(variable.FindStringSubmatch(match)[1])
		if err != nil {
			failed = err
		}
		return fmt.Sprint(value)
	})
	return result, failed
}
