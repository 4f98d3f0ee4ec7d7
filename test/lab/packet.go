// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxFrame is the longest frame that the Lab carries.
const maxFrame = 65536

// packetSocket is an Endpoint on a device's AF_PACKET socket.
type packetSocket struct {
	file *os.File
	buf  [maxFrame]byte
	oob  [256]byte
}

// OpenPacket opens a packet socket on a device of the namespace. It sees every
// frame that the device receives, and none that it sends.
func (n *Namespace) OpenPacket(device string) (Endpoint, error) {
	s := &packetSocket{}
	err := n.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		// Protocol 0: it receives nothing before bind.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		s.file = os.NewFile(uintptr(fd), "packet socket of "+device)
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: i.Index}),
		)
	})
	if err != nil {
		if s.file != nil {
			s.file.Close()
		}
		return nil, fmt.Errorf("open packet socket on %s: %w", device, err)
	}
	return s, nil
}

// bigEndian returns the number whose bytes in memory are v in network order.
func bigEndian(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func (s *packetSocket) Send(frame []byte) error {
	_, err := s.file.Write(frame)
	return err
}

func (s *packetSocket) Recv(timeout time.Duration) ([]byte, error) {
	if err := s.file.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	conn, err := s.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var n, oobn int
	var recvErr error
	err = conn.Read(func(fd uintptr) bool {
		n, oobn, _, _, recvErr = unix.Recvmsg(int(fd), s.buf[:], s.oob[:], 0)
		if recvErr == unix.ENETDOWN { // told once when the device goes down
			recvErr = unix.EAGAIN
		}
		return recvErr != unix.EAGAIN
	})
	if err = errors.Join(err, recvErr); err != nil {
		return nil, err
	}
	return withTag(s.buf[:n], s.oob[:oobn])
}

func (s *packetSocket) Close() error { return s.file.Close() }

// withTag copies a received frame and puts the VLAN tag back that the kernel
// has moved into the socket's auxiliary data (struct tpacket_auxdata).
func withTag(frame, oob []byte) ([]byte, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA ||
			len(m.Data) < int(unsafe.Sizeof(unix.TpacketAuxdata{})) {
			continue
		}
		aux := (*unix.TpacketAuxdata)(unsafe.Pointer(&m.Data[0]))
		if aux.Status&unix.TP_STATUS_VLAN_VALID == 0 || len(frame) < 12 {
			continue
		}
		tpid := uint16(unix.ETH_P_8021Q)
		if aux.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			tpid = aux.Vlan_tpid
		}
		out := make([]byte, 0, len(frame)+4)
		out = append(out, frame[:12]...)
		out = binary.BigEndian.AppendUint16(out, tpid)
		out = binary.BigEndian.AppendUint16(out, aux.Vlan_tci)
		return append(out, frame[12:]...), nil
	}
	return append([]byte(nil), frame...), nil
}
