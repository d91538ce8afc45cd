package emulator

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func deployedStack() *Stack {
	return &Stack{
		Name: "Deploy-local", region: "ap-northeast-1", account: Account{ID: "222222222222"},
		parameters: map[string]string{"SourceVpceId": "vpce-0123456789abcdef0"},
		physical: map[string]string{
			"Bucket": "example-deploy-local",
			"Queue":  "https://sqs.ap-northeast-1.amazonaws.com/222222222222/artifacts",
		},
		resources: map[string]resource{
			"Bucket":   {Type: "AWS::S3::Bucket"},
			"Queue":    {Type: "AWS::SQS::Queue"},
			"Lost":     {Type: "AWS::SSM::Association"},
			"Metadata": {Type: "AWS::CDK::Metadata"},
		},
	}
}

func TestS15_ReplayedPropertiesAreResolvedAsCloudFormationWould(t *testing.T) {
	type object = map[string]any
	type list = []any
	for name, c := range map[string]struct{ template, want any }{
		"text":        {"s3:ObjectCreated:*", "s3:ObjectCreated:*"},
		"truth":       {true, true},
		"parameter":   {object{"Ref": "SourceVpceId"}, "vpce-0123456789abcdef0"},
		"resource":    {object{"Ref": "Bucket"}, "example-deploy-local"},
		"pseudo":      {object{"Ref": "AWS::AccountId"}, "222222222222"},
		"bucket ARN":  {object{"Fn::GetAtt": list{"Bucket", "Arn"}}, "arn:aws:s3:::example-deploy-local"},
		"queue ARN":   {object{"Fn::GetAtt": list{"Queue", "Arn"}}, "arn:aws:sqs:ap-northeast-1:222222222222:artifacts"},
		"joined":      {object{"Fn::Join": list{"", list{object{"Ref": "Bucket"}, "/*"}}}, "example-deploy-local/*"},
		"substituted": {object{"Fn::Sub": "cdk-${AWS::AccountId}-${AWS::Region}"}, "cdk-222222222222-ap-northeast-1"},
		"nested":      {object{"Rules": list{object{"Name": "prefix", "Value": object{"Ref": "Bucket"}}}}, object{"Rules": list{object{"Name": "prefix", "Value": "example-deploy-local"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := deployedStack().resolve(c.template)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestS15_WhatCannotBeResolvedIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		template any
		want     string
	}{
		"unknown function":    {map[string]any{"Fn::Cidr": []any{}}, "Fn::Cidr is not known here"},
		"ignored resource":    {map[string]any{"Ref": "Lost"}, "Lost, which moto has not created"},
		"unknown attribute":   {map[string]any{"Fn::GetAtt": []any{"Bucket", "DomainName"}}, "DomainName of Bucket"},
		"in a list":           {[]any{map[string]any{"Ref": "Lost"}}, "Lost"},
		"inside of a text":    {map[string]any{"Fn::Sub": "${Lost}-x"}, "Lost"},
		"joined with another": {map[string]any{"Fn::Join": []any{"", []any{map[string]any{"Ref": "Lost"}}}}, "Lost"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := deployedStack().resolve(c.template)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

func TestS15_IgnoredTypesAreThoseWithoutAPhysicalID(t *testing.T) {
	assert.Equal(t, map[string]bool{"AWS::SSM::Association": true}, deployedStack().ignored())
}

func TestS15_MissingOutputIsNamed(t *testing.T) {
	s := deployedStack()
	s.Outputs = map[string]string{"QueueUrl": "x"}
	_, err := s.output("ArtifactBucketName")
	assert.EqualError(t, err, "stack Deploy-local has no output ArtifactBucketName, only [QueueUrl]")
}

func TestS15_GapListHasNoDuplicatesAndSaysWhatIsMissing(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range Gaps {
		assert.False(t, seen[g.String()], "%s is listed twice", g)
		seen[g.String()] = true
		assert.True(t, g.replay != nil || g.Without != "", "%s is not replayed: say what is different", g)
		assert.True(t, g.filled != nil || g.Property == "" && g.replay == nil, "%s needs a probe", g)
	}
}
