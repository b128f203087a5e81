// SPDX-License-Identifier: MIT
// Listening sockets: adopted from whoever made them, or bound here.
//
// Owns nothing: hands UniqueFds to the engine. Any thread.
#pragma once

#include <cstdint>
#include <string>

#include "fd.h"

namespace pg_gateway {

struct Listener {
  UniqueFd fd;
  bool tcp = true;         // else AF_UNIX
  std::uint16_t port = 0;  // that it was bound to here; 0: it was adopted
};

// Takes over a listening stream socket (sd_listen_fds(3) or bind_listener()): makes it
// non-blocking and close-on-exec, and sets what accepted sockets inherit. Errors name
// what it is not: SysError{"not a socket" | "not a stream socket" | "not listening" |
// "not an IPv4, IPv6 or AF_UNIX socket", EINVAL}. On error the descriptor is not closed.
Result<Listener> adopt_listener(int fd, const TcpOptions& inherited);

// Binds and listens on a numeric address, with SO_REUSEADDR. "::" serves IPv4 too
// (ipv6(7), IPV6_V6ONLY). `port` 0 takes a free one, which local_port() tells.
Result<UniqueFd> bind_listener(const std::string& address, std::uint16_t port);
// 0 of an AF_UNIX socket.
Result<std::uint16_t> local_port(int fd);

}  // namespace pg_gateway
