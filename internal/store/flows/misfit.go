package flows

import (
	"math/bits"
	"strings"
)

// noteMisfits says aloud which answers a column does not show: the first, the
// second, the fourth …
func (k *Keeper) noteMisfits(f *flow, before []answerKey, blocked []string) {
	for i, key := range f.state.Keys {
		was := int64(0)
		if i < len(before) && before[i].Key == key.Key {
			was = before[i].Misfits
		}
		if key.Misfits == 0 || bits.Len64(uint64(was)) == bits.Len64(uint64(key.Misfits)) { //nolint:gosec // counts
			continue
		}
		k.log.Warn().Str("flow_id", f.id).Str("view", f.view).Str("key", key.Key).Str("type", key.Type).
			Int64("answers", key.Misfits).Strs("in_the_way", blocked).Str("mend", Mend(f.id, key.Key, key.bestType(f.state.Chosen[key.Key]))).
			Msg("some answers do not fit their column and read as null")
	}
}

// Mend returns the command that gives a key's column another type, for a shell.
func Mend(flowID, key, columnType string) string {
	return "flowkeep flows retype " + quoteShell(flowID) + " " + quoteShell(key) + " " + quoteShell(columnType)
}

func quoteShell(s string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("_-.:/", r)
	}
	if s != "" && strings.TrimFunc(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
