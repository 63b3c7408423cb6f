// Makes golden results with the library that create-env uses, gopkg.in/yaml.v2, and with go-patch.
// Input on stdin: JSON lines. {"yaml": text} gives {"value", "emitted"} or {"error"}; {"doc": text, "ops": text} applies
// an ops file and gives {"emitted"} or {"error"}; {"doc": text, "path": text} finds a path.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"

	"github.com/cppforlife/go-patch/patch"
	"gopkg.in/yaml.v2"
)

type request struct {
	Yaml *string `json:"yaml"`
	Doc  *string `json:"doc"`
	Ops  *string `json:"ops"`
	Path *string `json:"path"`
}

type answer struct {
	Value   interface{} `json:"value,omitempty"`
	Emitted string      `json:"emitted,omitempty"`
	Error   string      `json:"error,omitempty"`
}

func canon(v interface{}) interface{} {
	switch t := v.(type) {
	case nil:
		return "null"
	case string:
		return []interface{}{"string", t}
	case bool:
		return []interface{}{"bool", t}
	case int, int64, uint64:
		return []interface{}{"int", fmt.Sprint(t)}
	case float64:
		return []interface{}{"float", strconv.FormatFloat(t, 'g', -1, 64)}
	case []interface{}:
		out := []interface{}{"list"}
		for _, x := range t {
			out = append(out, canon(x))
		}
		return out
	case map[interface{}]interface{}:
		pairs := [][2]interface{}{}
		for k, x := range t {
			pairs = append(pairs, [2]interface{}{canon(k), canon(x)})
		}
		sort.Slice(pairs, func(i, j int) bool {
			a, _ := json.Marshal(pairs[i][0])
			b, _ := json.Marshal(pairs[j][0])
			return string(a) < string(b)
		})
		return []interface{}{"map", pairs}
	}
	panic(fmt.Sprintf("%T", v))
}

func handle(r request) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = answer{Error: fmt.Sprint("panic: ", p)}
		}
	}()
	var doc interface{}
	text := r.Yaml
	if text == nil {
		text = r.Doc
	}
	if err := yaml.Unmarshal([]byte(*text), &doc); err != nil {
		return answer{Error: err.Error()}
	}
	var value interface{}
	if r.Ops != nil {
		var defs []patch.OpDefinition
		if err := yaml.Unmarshal([]byte(*r.Ops), &defs); err != nil {
			return answer{Error: err.Error()}
		}
		ops, err := patch.NewOpsFromDefinitions(defs)
		if err != nil {
			return answer{Error: err.Error()}
		}
		if doc, err = ops.Apply(doc); err != nil {
			return answer{Error: err.Error()}
		}
	} else if r.Path != nil {
		pointer, err := patch.NewPointerFromString(*r.Path)
		if err != nil {
			return answer{Error: err.Error()}
		}
		if doc, err = (patch.FindOp{Path: pointer}).Apply(doc); err != nil {
			return answer{Error: err.Error()}
		}
	} else {
		value = canon(doc)
	}
	out, err := yaml.Marshal(doc)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Value: value, Emitted: string(out)}
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			panic(err)
		}
		out.Encode(handle(r))
	}
}
