// SPDX-License-Identifier: MIT
#include "client_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace pg_gateway {

namespace {

constexpr ClientAddress::Host kMappedIpv4 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0};
constexpr std::size_t kIpv4Bytes = 4;

}  // namespace

ClientAddress client_address(const SocketAddress& peer) {
  ClientAddress client;
  client.family = peer.storage.ss_family;
  if (peer.family() == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&peer.storage);
    client.port = ntohs(v4->sin_port);
    std::memcpy(client.ip.data(), &v4->sin_addr, sizeof v4->sin_addr);
  } else if (peer.family() == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&peer.storage);
    client.port = ntohs(v6->sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
      client.family = AF_INET;
      std::copy_n(&v6->sin6_addr.s6_addr[12], kIpv4Bytes, client.ip.begin());
    } else {
      std::copy_n(&v6->sin6_addr.s6_addr[0], client.ip.size(), client.ip.begin());
    }
  }
  return client;
}

ClientAddress client_address_of(int fd) {
  SocketAddress peer;
  peer.length = sizeof peer.storage;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer.storage), &peer.length) != 0) return {};
  return client_address(peer);
}

std::string ClientAddress::text() const {
  if (family == AF_UNIX) return "unix";
  std::array<char, INET6_ADDRSTRLEN> words{};
  if (::inet_ntop(family, ip.data(), words.data(), words.size()) == nullptr) return {};
  return words.data();
}

std::optional<ClientAddress::Host> ClientAddress::host() const {
  if (family == AF_INET6) return ip;
  if (family != AF_INET) return std::nullopt;
  Host host = kMappedIpv4;
  std::copy_n(ip.begin(), kIpv4Bytes, host.end() - kIpv4Bytes);
  return host;
}

}  // namespace pg_gateway
