package main

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// proxy stands between flowkeep and Postgres and spoils the connection.
type proxy struct {
	url      string // of the database, through the proxy
	network  string // of the real server
	address  string
	listener net.Listener
	handlers sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // both ends of each
	away  bool              // new connections are closed at once
	delay time.Duration     // before what the client says goes on
	cut   cutMode           // for the next that the client says
	fired chan struct{}     // closed once cut was done
}

// cutMode says how a connection ends in the middle of a statement.
type cutMode int

const (
	cutNot    cutMode = iota
	cutInside         // half of the statement arrives: it does not run
	cutAfter          // all of it arrives, and no answer comes back: it is in doubt
)

// startProxy opens a proxy before the server of databaseURL until the test ends.
func startProxy(t testing.TB, databaseURL string) *proxy {
	t.Helper()
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{conns: map[net.Conn]bool{}}
	p.network, p.address = pgconn.NetworkAddress(cfg.Host, cfg.Port)
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	p.url = (&url.URL{
		Scheme: "postgres", User: url.UserPassword(cfg.User, cfg.Password), Host: p.listener.Addr().String(),
		Path: "/" + cfg.Database, RawQuery: "sslmode=disable",
	}).String()
	p.handlers.Go(p.accept)
	t.Cleanup(func() {
		p.listener.Close()
		p.setAway(true)
		p.handlers.Wait()
	})
	return p
}

// setAway ends every connection and lets none in, or lets them in again.
func (p *proxy) setAway(away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = away
	if away {
		for c := range p.conns {
			c.Close()
		}
	}
}

func (p *proxy) setDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// cutNext cuts the connection on which the client speaks next. The channel is
// closed when that is done.
func (p *proxy) cutNext(how cutMode) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.fired = how, make(chan struct{})
	return p.fired
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.handlers.Go(func() { p.serve(client) })
	}
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	if !p.enter(client) {
		return
	}
	defer p.leave(client)
	server, err := net.Dial(p.network, p.address)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.enter(server) {
		return
	}
	defer p.leave(server)
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server) // whichever side ends, both are closed
		client.Close()
	})
	p.forward(server, client)
	server.Close()
	back.Wait()
}

// forward passes on what the client says, or spoils it.
func (p *proxy) forward(server, client net.Conn) {
	buf := make([]byte, 256<<10) // most often holds a whole statement
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		delay, cut := p.next()
		if delay > 0 {
			<-time.After(delay)
		}
		if cut == cutInside {
			n /= 2
		}
		if cut == cutAfter {
			client.Close() // first, so that no answer comes through
		}
		if _, err := server.Write(buf[:n]); err != nil || cut != cutNot {
			return
		}
	}
}

// next returns what to do with the next piece, and forgets about the cut.
func (p *proxy) next() (time.Duration, cutMode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cut := p.cut
	if cut != cutNot {
		p.cut = cutNot
		close(p.fired)
	}
	return p.delay, cut
}

func (p *proxy) enter(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) leave(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// elsewhere returns the address of a database on the same proxy that flowkeep
// has not met.
func (p *proxy) elsewhere() string {
	return fmt.Sprintf("postgres://nobody@%s/another?sslmode=disable", p.listener.Addr())
}
