package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// port is where name servers listen (RFC 1035, 4.2).
const port = 53

const (
	// maxUDP is the largest message taken from UDP, in bytes: what requesters announce at
	// most in practice (RFC 6891, 6.2.5). A longer answer is to be asked for by TCP.
	maxUDP = 4096
	// idle is how long a TCP connection may wait for its next query (RFC 7766, 6.2.3).
	idle = 10 * time.Second
	// patience bounds one query in all. It is below the five seconds after which libc
	// gives up, so that a client gets a failure rather than nothing.
	patience = 4500 * time.Millisecond
)

// buffers holds arrays for messages from UDP.
var buffers = sync.Pool{New: func() any { return new([maxUDP]byte) }}

func (s *Server) serveUDP(conn *net.UDPConn) {
	for {
		s.queries <- struct{}{}
		buf := buffers.Get().(*[maxUDP]byte)
		n, from, err := conn.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			<-s.queries
			buffers.Put(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error for an earlier answer
		}
		s.start(func() {
			s.answerUDP(conn, from, buf[:n])
			buffers.Put(buf)
			<-s.queries
		})
	}
}

func (s *Server) answerUDP(conn *net.UDPConn, from netip.AddrPort, query []byte) {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	reply := s.answer(ctx, query, overUDP)
	if reply == nil {
		return
	}
	if _, err := conn.WriteToUDPAddrPort(reply, from); err != nil && s.ctx.Err() == nil {
		s.log.Debug("DNS answer not sent", "to", from, "error", err)
	}
}

func (s *Server) serveTCP(l *net.TCPListener) {
	for {
		s.conns <- struct{}{}
		conn, err := l.Accept()
		if err != nil {
			<-s.conns
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.log.Warn("cannot accept DNS connections", "error", err)
			if !s.pause() {
				return
			}
			continue
		}
		s.start(func() {
			s.answerTCP(conn)
			<-s.conns
		})
	}
}

// pause waits a little after a failure that is likely to last, such as too many open
// files. It returns false when the server is closed.
func (s *Server) pause() bool {
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *Server) answerTCP(conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { conn.Close() })()
	for {
		conn.SetDeadline(time.Now().Add(idle))
		query, err := readMessage(conn)
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		reply := s.answer(ctx, query, overTCP)
		cancel()
		if reply == nil || writeMessage(conn, reply) != nil {
			return
		}
	}
}

// readMessage and writeMessage frame messages by a length of two bytes (RFC 1035, 4.2.2).
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, msg)
	return msg, err
}

func writeMessage(w io.Writer, msg []byte) error {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg)))
	_, err := w.Write(append(framed, msg...))
	return err
}
