// SPDX-License-Identifier: MIT
// Where a client comes from.
//
// Owns nothing: plain values. Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "socket_address.h"

namespace pg_gateway {

// Which clients a listener can have: IPv4, IPv6, or AF_UNIX (no address). AF_UNSPEC: not known.
struct ClientAddress {
  std::uint16_t family = 0;
  std::uint16_t port = 0;
  std::array<unsigned char, 16> ip{};  // of IPv4 the first four

  // "10.0.0.7", also of an IPv4 client of an IPv6 listener; "unix"; empty: not known.
  std::string text() const;

  // Its host, whatever the port: an IPv6 address, or an IPv4 one as ::ffff:a.b.c.d (RFC 4291,
  // 2.5.5.2). None of a client without an address.
  using Host = std::array<unsigned char, 16>;
  std::optional<Host> host() const;
};

// As accept4(2) or getpeername(2) tells it.
ClientAddress client_address(const SocketAddress& peer);

// The peer of a connected socket; not known once it has been reset.
ClientAddress client_address_of(int fd);

}  // namespace pg_gateway
