package lambdahost

import (
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// sqsRecord is one message in the event that Lambda makes of a batch.
// https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event
type sqsRecord struct {
	MessageID         string                  `json:"messageId"`
	ReceiptHandle     string                  `json:"receiptHandle"`
	Body              string                  `json:"body"`
	Attributes        map[string]string       `json:"attributes"`
	MessageAttributes map[string]sqsAttribute `json:"messageAttributes"`
	MD5OfBody         string                  `json:"md5OfBody"`
	EventSource       string                  `json:"eventSource"`
	EventSourceARN    string                  `json:"eventSourceARN"`
	Region            string                  `json:"awsRegion"`
}

type sqsAttribute struct {
	StringValue *string `json:"stringValue,omitempty"`
	BinaryValue []byte  `json:"binaryValue,omitempty"`
	DataType    string  `json:"dataType"`
}

func sqsEvent(m Mapping, messages []types.Message) ([]byte, error) {
	records := make([]sqsRecord, 0, len(messages))
	for _, message := range messages {
		attributes := map[string]sqsAttribute{}
		for name, a := range message.MessageAttributes {
			attributes[name] = sqsAttribute{StringValue: a.StringValue, BinaryValue: a.BinaryValue, DataType: aws.ToString(a.DataType)}
		}
		records = append(records, sqsRecord{
			MessageID:         aws.ToString(message.MessageId),
			ReceiptHandle:     aws.ToString(message.ReceiptHandle),
			Body:              aws.ToString(message.Body),
			Attributes:        message.Attributes,
			MessageAttributes: attributes,
			MD5OfBody:         aws.ToString(message.MD5OfBody),
			EventSource:       "aws:sqs",
			EventSourceARN:    m.QueueARN,
			Region:            m.Region,
		})
	}
	return json.Marshal(map[string]any{"Records": records})
}

// succeeded picks the messages that may be deleted, given the function's answer.
// Without partial failures an answer of any kind means all of them. With them
// the answer names those that failed, and an answer that cannot be trusted
// (no JSON, an empty or an unknown id) means none.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
func succeeded(m Mapping, messages []types.Message, answer []byte) ([]types.Message, error) {
	if !m.PartialFailures {
		return messages, nil
	}
	var response struct {
		BatchItemFailures []struct {
			ItemIdentifier string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if len(answer) > 0 {
		if err := json.Unmarshal(answer, &response); err != nil {
			return nil, fmt.Errorf("the answer is no batch response: %w", err)
		}
	}
	failed := map[string]bool{}
	for _, f := range response.BatchItemFailures {
		failed[f.ItemIdentifier] = true
	}
	var done []types.Message
	for _, message := range messages {
		if id := aws.ToString(message.MessageId); failed[id] {
			delete(failed, id)
		} else {
			done = append(done, message)
		}
	}
	for id := range failed {
		return nil, fmt.Errorf("the answer names message %q, which is not in the batch", id)
	}
	return done, nil
}
