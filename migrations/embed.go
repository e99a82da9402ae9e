// Package migrations carries the schema, as SQL files that are applied in the
// order of their numbers and never edited once released. Each is forward-safe:
// yesterday's binary runs on today's schema.
package migrations

import "embed"

// Files holds every NNNNN_name.sql.
//
//go:embed *.sql
var Files embed.FS
