// SPDX-License-Identifier: MIT
#include "listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "socket_address.h"

namespace pg_gateway {

namespace {

// Cut to net.core.somaxconn by the kernel (listen(2)); a storm of reconnecting
// clients after a failover must not find the queue full.
constexpr int kBacklog = 4096;

// No error: `value` is that of an integer option.
SysError read_option(int fd, int name, int& value) {
  socklen_t length = sizeof value;
  if (::getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0) return {};
  if (errno == EBADF || errno == ENOTSOCK) return {"not a socket", errno};
  return SysError::last("getsockopt");
}

bool set_option(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

}  // namespace

Result<Listener> adopt_listener(int fd, const TcpOptions& inherited) {
  int domain = 0;
  int type = 0;
  int listening = 0;
  if (SysError error = read_option(fd, SO_DOMAIN, domain)) return error;
  if (SysError error = read_option(fd, SO_TYPE, type)) return error;
  if (SysError error = read_option(fd, SO_ACCEPTCONN, listening)) return error;
  if (type != SOCK_STREAM) return SysError{"not a stream socket", EINVAL};
  if (listening != 1) return SysError{"not listening", EINVAL};
  if (domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX) {
    return SysError{"not an IPv4, IPv6 or AF_UNIX socket", EINVAL};
  }
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
      ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    return SysError::last("fcntl");
  }
  const bool tcp = domain != AF_UNIX;
  if (tcp) {
    // Inherited by every accepted socket, so that a session costs no setsockopt(2).
    if (!set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1)) return SysError::last("setsockopt");
    set_inherited_options(fd, inherited);
  }
  return Listener{UniqueFd(fd), tcp};
}

Result<UniqueFd> bind_listener(const std::string& address, std::uint16_t port) {
  Result<SocketAddress> where = parse_address(address, port);
  if (!where.ok()) return where.error();
  const SocketAddress& local = where.value();
  UniqueFd fd(::socket(local.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return SysError::last("socket");
  if (!set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1)) return SysError::last("setsockopt");
  if (local.family() == AF_INET6) {
    const bool any =
        IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6*>(&local.storage)->sin6_addr);
    if (!set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, any ? 0 : 1)) {
      return SysError::last("setsockopt");
    }
  }
  if (::bind(fd.get(), local.get(), local.length) != 0) return SysError::last("bind");
  if (::listen(fd.get(), kBacklog) != 0) return SysError::last("listen");
  return fd;
}

Result<std::uint16_t> local_port(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return SysError::last("getsockname");
  }
  switch (address.ss_family) {
    case AF_INET:
      return std::uint16_t{ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port)};
    case AF_INET6:
      return std::uint16_t{ntohs(reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port)};
    default:
      return std::uint16_t{0};
  }
}

}  // namespace pg_gateway
