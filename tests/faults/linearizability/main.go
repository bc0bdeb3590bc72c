// Judges whether a history of reads and etag updates of resources is linearizable: whether it could
// have come from calls that were carried out one at a time, each at some moment between its start
// and its end.
//
// Reads a JSON array of operations from standard input. Ends with 0 if the history is
// linearizable, with 1 if it is not, and with 2 if it cannot tell.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

const patience = time.Minute

// Version is what a resource holds and the etag that goes with it.
type Version struct {
	Etag  string `json:"etag"`
	Value string `json:"value"`
}

// Operation is one call: a read, or an update to Value on condition that the etag is Expected.
type Operation struct {
	Client    int    `json:"client"`
	Resource  int64  `json:"resource"`
	StartedNs int64  `json:"started_ns"`
	EndedNs   int64  `json:"ended_ns"`
	Kind      string `json:"kind"` // "read" or "update"
	Expected  string `json:"expected"`
	Value     string `json:"value"`
	// "ok" or, of an update, "stale": the etag was another one.
	Outcome string  `json:"outcome"`
	Answer  Version `json:"answer"`
}

// The first operation on a resource is a read before all others: the state that it starts in.
var model = porcupine.Model{
	Partition: byResource,
	Init:      func() interface{} { return Version{} },
	Step: func(state, input, _ interface{}) (bool, interface{}) {
		return step(state.(Version), input.(Operation))
	},
}

// Resources are linearizable together if each of them is.
func byResource(history []porcupine.Operation) [][]porcupine.Operation {
	parts := map[int64][]porcupine.Operation{}
	for _, one := range history {
		resource := one.Input.(Operation).Resource
		parts[resource] = append(parts[resource], one)
	}
	var all [][]porcupine.Operation
	for _, part := range parts {
		all = append(all, part)
	}
	return all
}

// Whether the operation can have happened to a resource in the state `now`, and the state after it.
func step(now Version, operation Operation) (bool, Version) {
	matches := now.Etag == operation.Expected
	switch {
	case operation.Kind == "read":
		return now == operation.Answer || now == (Version{}), operation.Answer
	case operation.Outcome == "stale":
		return !matches, now
	}
	// Each version has an etag of its own, and the answer tells what was stored.
	return matches && operation.Answer.Etag != now.Etag &&
		operation.Answer.Value == operation.Value, operation.Answer
}

func main() {
	var operations []Operation
	if err := json.NewDecoder(os.Stdin).Decode(&operations); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	var history []porcupine.Operation
	for _, one := range operations {
		history = append(history, porcupine.Operation{
			ClientId: one.Client, Input: one, Call: one.StartedNs, Output: one.Answer,
			Return: one.EndedNs,
		})
	}
	result := porcupine.CheckOperationsTimeout(model, history, patience)
	fmt.Printf("%d operations: %s\n", len(history), result)
	switch result {
	case porcupine.Ok:
		return
	case porcupine.Illegal:
		os.Exit(1)
	}
	os.Exit(2)
}
