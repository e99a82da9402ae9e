package store

// CheckSession is what every new session of a pool goes through.
var CheckSession = checkSession
