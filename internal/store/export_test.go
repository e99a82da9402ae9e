package store

// CheckSession is what every new session of a pool goes through.
var CheckSession = checkSession

// Reset gives up every session, so that new ones take up changed settings.
func (db *DB) Reset() { db.pool.Reset() }
