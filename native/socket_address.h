// SPDX-License-Identifier: MIT
// A numeric socket address.
//
// Owns nothing: plain values. Any thread.
#pragma once

#include <sys/socket.h>

#include <cstdint>
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

}  // namespace pg_gateway
