package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// Outputs are a stack's, as CloudFormation lists them.
type Outputs struct {
	Stack   string
	Outputs []cfntypes.Output
}

// Get is an output by its name, "" when there is none.
func (o Outputs) Get(name string) string {
	for _, output := range o.Outputs {
		if aws.ToString(output.OutputKey) == name {
			return aws.ToString(output.OutputValue)
		}
	}
	return ""
}

// MarshalJSON keeps CloudFormation's order.
func (o Outputs) MarshalJSON() ([]byte, error) {
	pairs := make([]pair, len(o.Outputs))
	for i, output := range o.Outputs {
		pairs[i] = pair{aws.ToString(output.OutputKey), aws.ToString(output.OutputValue)}
	}
	return object(pairs)
}

// Print writes the outputs of all stacks as one JSON object.
func Print(w io.Writer, all []Outputs) error {
	pairs := make([]pair, len(all))
	for i, outputs := range all {
		pairs[i] = pair{outputs.Stack, outputs}
	}
	text, err := object(pairs)
	if err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", "  "); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, indented.String())
	return err
}

type pair struct {
	key   string
	value any
}

// object is a JSON object whose keys keep their order.
func object(pairs []pair) ([]byte, error) {
	text := []byte{'{'}
	for i, p := range pairs {
		if i > 0 {
			text = append(text, ',')
		}
		key, err := json.Marshal(p.key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(p.value)
		if err != nil {
			return nil, err
		}
		text = append(append(append(text, key...), ':'), value...)
	}
	return append(text, '}'), nil
}
