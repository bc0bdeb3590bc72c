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
	// "ok", "stale" (the etag was another one), or, of an update, "unknown" (carried out or not).
	Outcome string  `json:"outcome"`
	Answer  Version `json:"answer"`
}

// The first operation on a resource is a read before all others: the state that it starts in.
var model = porcupine.NondeterministicModel{
	Partition: byResource,
	Init:      func() []interface{} { return []interface{}{Version{}} },
	Step: func(state, input, _ interface{}) []interface{} {
		return step(state.(Version), input.(Operation))
	},
	Equal: func(one, other interface{}) bool { return one == other },
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

// The states that the resource may be in after the operation; none if it cannot have happened.
func step(now Version, operation Operation) []interface{} {
	if operation.Kind == "read" {
		if now == operation.Answer || now == (Version{}) {
			return []interface{}{operation.Answer}
		}
		return nil
	}
	matches := now.Etag == operation.Expected
	switch operation.Outcome {
	case "stale":
		if matches {
			return nil
		}
		return []interface{}{now}
	case "ok":
		// Each version has an etag of its own, and the answer tells what was stored.
		if !matches || operation.Answer.Etag == now.Etag || operation.Answer.Value != operation.Value {
			return nil
		}
		return []interface{}{operation.Answer}
	default:
		if matches {
			return []interface{}{now, Version{Etag: next(now.Etag), Value: operation.Value}}
		}
		return []interface{}{now}
	}
}

// The etag that the service gives to the version after the one with `etag`.
func next(etag string) string {
	var number int64
	fmt.Sscan(etag, &number)
	return fmt.Sprint(number + 1)
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
	result := porcupine.CheckOperationsTimeout(model.ToModel(), history, patience)
	fmt.Printf("%d operations: %s\n", len(history), result)
	switch result {
	case porcupine.Ok:
		return
	case porcupine.Illegal:
		os.Exit(1)
	}
	os.Exit(2)
}
