package web

import (
	stdlog "log"
	"strings"

	"github.com/rs/zerolog"
)

// ServerLog is for http.Server.ErrorLog: what the server itself complains of
// becomes a warning like any other. Only the first line is kept, since a stack
// may follow.
func ServerLog(log zerolog.Logger) *stdlog.Logger { return stdlog.New(serverLog{log}, "", 0) }

type serverLog struct{ log zerolog.Logger }

// Write implements io.Writer for one message.
func (l serverLog) Write(text []byte) (int, error) {
	line, _, _ := strings.Cut(string(text), "\n")
	l.log.Warn().Str("complaint", line).Msg("HTTP server")
	return len(text), nil
}
