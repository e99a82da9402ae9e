package kapso

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// snakeCase returns JSON with every key in snake_case, however deep, as the SDK
// sends it: also those that the sender chose for a flow's own data. Values and
// numbers stay as they are. Two keys that become one are refused, as one of the
// values would be lost.
func snakeCase(field string, data json.RawMessage) (json.RawMessage, error) {
	if len(data) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, field, err)
	}
	renamed, err := renameKeys(field, v)
	if err != nil {
		return nil, err
	}
	return encode(renamed)
}

func renameKeys(field string, v any) (any, error) {
	var err error
	switch v := v.(type) {
	case []any:
		for i := range v {
			if v[i], err = renameKeys(fmt.Sprintf("%s[%d]", field, i), v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		renamed := make(map[string]any, len(v))
		for key, value := range v {
			name := snakeKey(key)
			if _, twice := renamed[name]; twice {
				return nil, fmt.Errorf("%w: %s: two keys become %s", ErrInvalid, field, name)
			}
			if renamed[name], err = renameKeys(field+"."+key, value); err != nil {
				return nil, err
			}
		}
		return renamed, nil
	}
	return v, nil
}

var (
	capital        = regexp.MustCompile(`[A-Z]`)
	constant       = regexp.MustCompile(`^[A-Z0-9_]+$`)
	lastOfCapitals = regexp.MustCompile(`([A-Z\d]+)([A-Z][a-z])`)
	newWord        = regexp.MustCompile(`([a-z\d])([A-Z])`)
)

// snakeKey converts one key by the SDK's rules: a key without a capital, or of
// capitals, digits and underscores only, stays; else a word starts where a
// capital follows a small letter or a digit, and before the last of several
// capitals (HTTPServer is http_server).
func snakeKey(key string) string {
	if !capital.MatchString(key) || constant.MatchString(key) {
		return key
	}
	key = lastOfCapitals.ReplaceAllString(key, "${1}_${2}")
	return strings.ToLower(newWord.ReplaceAllString(key, "${1}_${2}"))
}
