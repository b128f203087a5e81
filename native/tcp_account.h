// SPDX-License-Identifier: MIT
// The kernel's own count of what a socket has given and taken: the proof that a session
// that was taken up from an earlier process is whole. In each direction
//
//   bytes consumed from the source = bytes written to the sink + bytes in the pipe
//
// or a byte was lost or doubled, and the session must end: a lost session is a nuisance,
// a corrupted one is a disaster.
//
// Owns nothing; borrows descriptors. Any thread. Sources: tcp(7) (TCP_INFO, SIOCINQ,
// SIOCOUTQ); RFC 4898 (bytes_received, bytes_acked).
#pragma once

#include <cstdint>

namespace pg_gateway {

// Which side sent the SYN: it is among the bytes that the peer has acknowledged.
enum class Opened : std::uint8_t { kByUs, kByPeer };

struct TcpAccount {
  bool known = false;       // false: no TCP socket, or the kernel could not be asked
  bool connecting = false;  // the SYN is not answered yet
  bool closed = false;      // nothing more can be sent or will come; it may have been reset
  bool never_opened =
      false;  // closed, and it never was connected: the connect failed or was not begun
  bool fin_sent = false;
  std::uint64_t consumed = 0;  // bytes read from it; one too many at most if it is closed
  std::uint64_t written = 0;   // bytes written to it; one too many if it is closed after our FIN
};

// Exact while nobody reads from the socket or writes to it; its peer may go on.
TcpAccount tcp_account(int socket, Opened opened);

// Whether the end of the stream has been passed on to the sink. A closed socket does not tell a
// FIN from a byte: the source does.
bool end_passed_on(const TcpAccount& source, const TcpAccount& sink);

// Whether a direction is whole. True if it cannot be told: AF_UNIX, or a sink that is
// closed and will get nothing any more.
bool direction_is_whole(const TcpAccount& source, const TcpAccount& sink, std::uint64_t in_pipe);

}  // namespace pg_gateway
