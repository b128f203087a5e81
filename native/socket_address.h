// SPDX-License-Identifier: MIT
// A numeric socket address.
//
// Owns nothing: plain values. Any thread.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>

#include "fd.h"

namespace pg_gateway {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};

// From an IPv4 or IPv6 literal without brackets (a scope such as %eth0 may follow) and
// a port. Error: SysError{"getaddrinfo", EINVAL}.
Result<SocketAddress> parse_address(const std::string& address, std::uint16_t port);

// Whether a connected TCP socket is its own peer. A connect(2) to a port of this machine
// where nobody listens becomes that when the kernel happens to choose the same port as the
// local one (RFC 9293, 3.5, simultaneous open); the client would be echoed its own bytes. None
// where that cannot be told.
std::optional<bool> connected_to_itself(int fd);

}  // namespace pg_gateway
