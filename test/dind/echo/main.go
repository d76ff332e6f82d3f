// Command echo answers every UDP datagram to port 5300 with itself. It is what a container
// publishes in a test.
package main

import (
	"log"
	"net"
)

func main() {
	conn, err := net.ListenPacket("udp4", ":5300")
	if err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			log.Fatal(err)
		}
		conn.WriteTo(buf[:n], from)
	}
}
