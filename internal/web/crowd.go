package web

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
)

// Crowd bounds the connections that nobody has vouched for: idle ones, those
// that send a header or a body, those that do not read their answer. When there
// are too many, the one on which nothing happened for longest gives way. A
// sender in earnest is done in milliseconds and is never that one for long.
type Crowd struct {
	most int

	mu      sync.Mutex
	guests  map[net.Conn]*list.Element // every connection; nil once vouched for, or cut off
	waiting list.List                  // of net.Conn, the others, longest without news first
}

// NewCrowd returns a Crowd of at most so many connections.
func NewCrowd(most int) *Crowd {
	return &Crowd{most: most, guests: map[net.Conn]*list.Element{}}
}

// Bound makes s keep to the Crowd. It is called before s serves.
func (c *Crowd) Bound(s *http.Server) {
	s.ConnState = c.note
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, guestKey{}, guest{c, conn})
	}
}

type guestKey struct{}

type guest struct {
	crowd *Crowd
	conn  net.Conn
}

// Vouch takes the connection of a request out of the Crowd for good: a sender
// in earnest keeps its connections, however many strangers come. Without a Crowd
// it does nothing.
func Vouch(ctx context.Context) {
	if g, ok := ctx.Value(guestKey{}).(guest); ok {
		g.crowd.vouch(g.conn)
	}
}

func (c *Crowd) vouch(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(conn)
}

// drop takes a connection out of the waiting. The lock is held.
func (c *Crowd) drop(conn net.Conn) {
	if place := c.guests[conn]; place != nil {
		c.waiting.Remove(place)
		c.guests[conn] = nil
	}
}

// note follows the life of a connection.
func (c *Crowd) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.guests[conn] = c.waiting.PushBack(conn)
		if c.waiting.Len() > c.most {
			oldest := c.waiting.Front().Value.(net.Conn) //nolint:forcetypeassert // the list holds nothing else
			c.drop(oldest)
			_ = oldest.Close() // the server notices, and ends what it does with it
		}
	case http.StateActive, http.StateIdle:
		if place := c.guests[conn]; place != nil {
			c.waiting.MoveToBack(place)
		}
	case http.StateClosed, http.StateHijacked:
		c.drop(conn)
		delete(c.guests, conn)
	}
}
