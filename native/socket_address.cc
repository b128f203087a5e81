// SPDX-License-Identifier: MIT
#include "socket_address.h"

#include <netdb.h>

#include <cerrno>
#include <cstring>

namespace pg_gateway {

Result<SocketAddress> parse_address(const std::string& address, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    return SysError{"getaddrinfo", EINVAL};
  }
  SocketAddress parsed;
  std::memcpy(&parsed.storage, found->ai_addr, found->ai_addrlen);
  parsed.length = found->ai_addrlen;
  ::freeaddrinfo(found);
  return parsed;
}

std::optional<bool> connected_to_itself(int fd) {
  SocketAddress local;
  SocketAddress peer;
  local.length = peer.length = sizeof(sockaddr_storage);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&local.storage), &local.length) != 0 ||
      ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer.storage), &peer.length) != 0) {
    if (errno == ENOTCONN) return false;
    return std::nullopt;
  }
  return local.length == peer.length &&
         std::memcmp(&local.storage, &peer.storage, local.length) == 0;
}

}  // namespace pg_gateway
