package emulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

func (e *Emulator) s3(a Account) *s3.Client {
	return s3.NewFromConfig(e.awsConfig(a), func(o *s3.Options) { o.UsePathStyle = true })
}

// exists makes "there is no such configuration" a false instead of an error.
func exists(err error) (bool, error) {
	var api smithy.APIError
	if errors.As(err, &api) {
		code := api.ErrorCode()
		if strings.HasPrefix(code, "NoSuch") || strings.HasSuffix(code, "NotFoundError") || strings.HasSuffix(code, "NotFound") {
			return false, nil
		}
	}
	return err == nil, err
}

func bucketIsVersioned(ctx context.Context, e *Emulator, s *Stack, id string) (bool, error) {
	bucket := s.physical[id]
	out, err := e.s3(s.account).GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &bucket})
	return err == nil && out.Status != "", err
}

func versionBucket(ctx context.Context, e *Emulator, s *Stack, id string) error {
	var want types.VersioningConfiguration
	if _, err := s.property(id, "VersioningConfiguration", &want); err != nil {
		return err
	}
	bucket := s.physical[id]
	_, err := e.s3(s.account).PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: &bucket, VersioningConfiguration: &want})
	return err
}

func bucketNotifies(ctx context.Context, e *Emulator, s *Stack, id string) (bool, error) {
	bucket := s.physical[id]
	out, err := e.s3(s.account).GetBucketNotificationConfiguration(ctx, &s3.GetBucketNotificationConfigurationInput{Bucket: &bucket})
	return err == nil && len(out.QueueConfigurations) > 0, err
}

func bucketTellsEventBridge(ctx context.Context, e *Emulator, s *Stack, id string) (bool, error) {
	bucket := s.physical[id]
	out, err := e.s3(s.account).GetBucketNotificationConfiguration(ctx, &s3.GetBucketNotificationConfigurationInput{Bucket: &bucket})
	return err == nil && out.EventBridgeConfiguration != nil, err
}

// notifyQueues knows notifications to queues, and leaves those to EventBridge
// out, which are a gap of their own; any other kind is an error.
func notifyQueues(ctx context.Context, e *Emulator, s *Stack, id string) error {
	var raw map[string]json.RawMessage
	if _, err := s.property(id, "NotificationConfiguration", &raw); err != nil {
		return err
	}
	for kind := range raw {
		if kind != "QueueConfigurations" && kind != "EventBridgeConfiguration" {
			return fmt.Errorf("%s is not known here: add it to notifyQueues", kind)
		}
	}
	var queues []struct {
		Event, Queue string
		Filter       struct {
			S3Key struct {
				Rules []struct{ Name, Value string }
			}
		}
	}
	if err := json.Unmarshal(raw["QueueConfigurations"], &queues); err != nil {
		return err
	}
	var want types.NotificationConfiguration
	for _, q := range queues {
		var rules []types.FilterRule
		for _, rule := range q.Filter.S3Key.Rules {
			rules = append(rules, types.FilterRule{Name: types.FilterRuleName(rule.Name), Value: &rule.Value})
		}
		want.QueueConfigurations = append(want.QueueConfigurations, types.QueueConfiguration{
			Events: []types.Event{types.Event(q.Event)}, QueueArn: &q.Queue,
			Filter: &types.NotificationConfigurationFilter{Key: &types.S3KeyFilter{FilterRules: rules}},
		})
	}
	bucket := s.physical[id]
	_, err := e.s3(s.account).PutBucketNotificationConfiguration(ctx, &s3.PutBucketNotificationConfigurationInput{
		Bucket: &bucket, NotificationConfiguration: &want,
	})
	return err
}

func bucketBlocksPublic(ctx context.Context, e *Emulator, s *Stack, id string) (bool, error) {
	bucket := s.physical[id]
	_, err := e.s3(s.account).GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: &bucket})
	return exists(err)
}

func blockPublic(ctx context.Context, e *Emulator, s *Stack, id string) error {
	var want types.PublicAccessBlockConfiguration
	if _, err := s.property(id, "PublicAccessBlockConfiguration", &want); err != nil {
		return err
	}
	bucket := s.physical[id]
	_, err := e.s3(s.account).PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: &bucket, PublicAccessBlockConfiguration: &want})
	return err
}

func bucketHasOwnership(ctx context.Context, e *Emulator, s *Stack, id string) (bool, error) {
	bucket := s.physical[id]
	_, err := e.s3(s.account).GetBucketOwnershipControls(ctx, &s3.GetBucketOwnershipControlsInput{Bucket: &bucket})
	return exists(err)
}

func setOwnership(ctx context.Context, e *Emulator, s *Stack, id string) error {
	var want types.OwnershipControls
	if _, err := s.property(id, "OwnershipControls", &want); err != nil {
		return err
	}
	bucket := s.physical[id]
	_, err := e.s3(s.account).PutBucketOwnershipControls(ctx, &s3.PutBucketOwnershipControlsInput{Bucket: &bucket, OwnershipControls: &want})
	return err
}

func bucketHasLifecycle(ctx context.Context, e *Emulator, s *Stack, id string) (bool, error) {
	bucket := s.physical[id]
	_, err := e.s3(s.account).GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &bucket})
	return exists(err)
}

func bucketLogs(ctx context.Context, e *Emulator, s *Stack, id string) (bool, error) {
	bucket := s.physical[id]
	out, err := e.s3(s.account).GetBucketLogging(ctx, &s3.GetBucketLoggingInput{Bucket: &bucket})
	return err == nil && out.LoggingEnabled != nil, err
}

func bucketLocks(ctx context.Context, e *Emulator, s *Stack, id string) (bool, error) {
	bucket := s.physical[id]
	out, err := e.s3(s.account).GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &bucket})
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "ObjectLockConfigurationNotFoundError" {
		return false, nil
	}
	return err == nil && out.ObjectLockConfiguration != nil, err
}

func bucketHasPolicy(ctx context.Context, e *Emulator, s *Stack, id string) (bool, error) {
	var bucket string
	if _, err := s.property(id, "Bucket", &bucket); err != nil {
		return false, err
	}
	_, err := e.s3(s.account).GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &bucket})
	return exists(err)
}

func setBucketPolicy(ctx context.Context, e *Emulator, s *Stack, id string) error {
	var bucket string
	if _, err := s.property(id, "Bucket", &bucket); err != nil {
		return err
	}
	policy, err := s.policy(id)
	if err != nil {
		return err
	}
	_, err = e.s3(s.account).PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &policy})
	return err
}

// policy returns a resource's PolicyDocument as text.
func (s *Stack) policy(id string) (string, error) {
	var document json.RawMessage
	found, err := s.property(id, "PolicyDocument", &document)
	if err == nil && !found {
		err = fmt.Errorf("%s has no PolicyDocument", id)
	}
	return string(document), err
}
