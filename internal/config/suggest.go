package config

import (
	"reflect"
	"strings"
)

// join shows a key as the file has it.
func join(key []string) string { return strings.Join(key, ".") }

// suggestion names the known key that is most like an unknown one, or all of its table.
func suggestion(key []string) string {
	table := reflect.TypeFor[File]()
	for _, part := range key[:len(key)-1] {
		if table.Kind() == reflect.Map {
			table = table.Elem()
			continue
		}
		field, ok := fieldOf(table, part)
		if !ok {
			return ""
		}
		table = field
	}
	if table.Kind() != reflect.Struct {
		return ""
	}
	return Suggest(key[len(key)-1], keys(table))
}

// Suggest is what an error about an unknown key ends with: the known one that is most like
// it, or all of them.
func Suggest(last string, known []string) string {
	best, least := "", len(last)/2+1
	for _, k := range known {
		if d := distance(last, k); d < least {
			best, least = k, d
		}
	}
	if best != "" {
		return "; did you mean " + best + "?"
	}
	return "; known here: " + strings.Join(known, ", ")
}

func keys(t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		if k := t.Field(i).Tag.Get("toml"); k != "-" {
			out = append(out, k)
		}
	}
	return out
}

func fieldOf(t reflect.Type, key string) (reflect.Type, bool) {
	if t.Kind() != reflect.Struct {
		return nil, false
	}
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("toml") == key {
			return t.Field(i).Type, true
		}
	}
	return nil, false
}

// distance is how many letters have to be changed, added or left out to get from a to b
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
