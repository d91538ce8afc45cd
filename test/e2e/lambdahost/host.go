package lambdahost

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Host runs functions and feeds them from their queues.
type Host struct {
	instances map[string]*Instance // by function name
	mappings  []Mapping
	queue     Queue
	log       *slog.Logger
}

// New prepares a host; nothing runs before Run or Invoke.
func New(functions []Function, mappings []Mapping, queue Queue, log *slog.Logger) (*Host, error) {
	h := &Host{instances: map[string]*Instance{}, mappings: mappings, queue: queue, log: log}
	for _, f := range functions {
		h.instances[f.Name] = NewInstance(f)
	}
	for _, m := range mappings {
		if h.instances[m.Function] == nil {
			return nil, fmt.Errorf("the mapping of %s names function %s, which is not hosted", m.QueueARN, m.Function)
		}
	}
	return h, nil
}

// Run takes messages from all queues until ctx ends. When it returns, no
// function process is left.
func (h *Host) Run(ctx context.Context) {
	var pollers sync.WaitGroup
	for _, m := range h.mappings {
		p := poller{mapping: m, queue: h.queue, invoke: h.instances[m.Function].Invoke, log: h.log, pause: time.Second}
		pollers.Go(func() { p.run(ctx) })
		h.log.Info("polling", "function", m.Function, "queue", m.QueueURL, "batchSize", m.BatchSize)
	}
	<-ctx.Done()
	pollers.Wait()
	h.Close()
}

// Invoke sends one event through a function by itself, as EventBridge would.
func (h *Host) Invoke(ctx context.Context, function string, payload []byte) ([]byte, error) {
	i := h.instances[function]
	if i == nil {
		return nil, fmt.Errorf("function %s is not hosted", function)
	}
	return i.Invoke(ctx, payload)
}

// Close ends all function processes.
func (h *Host) Close() {
	for _, i := range h.instances {
		i.Close()
	}
}
