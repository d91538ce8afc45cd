package emulator

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
)

// Stack is a deployed stack as CloudFormation describes it.
type Stack struct {
	Name    string
	Outputs map[string]string

	account    Account
	region     string
	parameters map[string]string
	resources  map[string]resource // by logical id, as the template has them
	physical   map[string]string   // physical ids by logical id, of what was created
}

type resource struct {
	Type       string
	Properties map[string]any
}

// StackA and StackB are the names of the two stacks.
func (e *Emulator) StackA() string { return "GitLab-" + e.Config.Environment }

// StackB is the name of account B's stack.
func (e *Emulator) StackB() string { return "Deploy-" + e.Config.Environment }

// readStacks reads account A's and account B's stack.
func (e *Emulator) readStacks(ctx context.Context) (a, b *Stack, err error) {
	if a, err = e.readStack(ctx, e.A, e.StackA()); err != nil {
		return nil, nil, err
	}
	b, err = e.readStack(ctx, e.B, e.StackB())
	return a, b, err
}

func (e *Emulator) readStack(ctx context.Context, account Account, name string) (*Stack, error) {
	client := cloudformation.NewFromConfig(e.awsConfig(account))
	described, err := client.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	if err != nil {
		return nil, fmt.Errorf("stack %s: %w", name, err)
	}
	resources, err := client.DescribeStackResources(ctx, &cloudformation.DescribeStackResourcesInput{StackName: &name})
	if err != nil {
		return nil, fmt.Errorf("resources of stack %s: %w", name, err)
	}
	template, err := client.GetTemplate(ctx, &cloudformation.GetTemplateInput{StackName: &name})
	if err != nil {
		return nil, fmt.Errorf("template of stack %s: %w", name, err)
	}

	s := &Stack{
		Name: name, account: account, region: e.Config.Region,
		Outputs: map[string]string{}, parameters: map[string]string{}, physical: map[string]string{},
	}
	for _, o := range described.Stacks[0].Outputs {
		s.Outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	for _, p := range described.Stacks[0].Parameters {
		s.parameters[aws.ToString(p.ParameterKey)] = aws.ToString(p.ParameterValue)
	}
	for _, r := range resources.StackResources {
		if id := aws.ToString(r.LogicalResourceId); id != "" { // moto lists what it ignored, without a name
			s.physical[id] = aws.ToString(r.PhysicalResourceId)
		}
	}
	var body struct{ Resources map[string]resource }
	if err := json.Unmarshal([]byte(aws.ToString(template.TemplateBody)), &body); err != nil {
		return nil, fmt.Errorf("template of stack %s: %w", name, err)
	}
	s.resources = body.Resources
	return s, nil
}

// output returns an output that must be there.
func (s *Stack) output(name string) (string, error) {
	if value := s.Outputs[name]; value != "" {
		return value, nil
	}
	return "", fmt.Errorf("stack %s has no output %s, only %v", s.Name, name, slices.Sorted(maps.Keys(s.Outputs)))
}

// ofType returns the logical ids of the resources of a type, in order.
func (s *Stack) ofType(resourceType string) []string {
	var ids []string
	for id, r := range s.resources {
		if r.Type == resourceType {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// ignored returns the types of which moto created nothing.
func (s *Stack) ignored() map[string]bool {
	types := map[string]bool{}
	for id, r := range s.resources {
		if _, created := s.physical[id]; !created && r.Type != "AWS::CDK::Metadata" {
			types[r.Type] = true
		}
	}
	return types
}
