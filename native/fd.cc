// SPDX-License-Identifier: MIT
#include "fd.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

namespace pg_gateway {

SysError SysError::last(const char* call) {
  return SysError{call, errno};
}

std::string SysError::text() const {
  if (call == nullptr) return "no error";
  std::string out = call;
  out += ": ";
  out += describe_errno(code);
  if (const char* name = strerrorname_np(code); name != nullptr) {
    out += " (";
    out += name;
    out += ")";
  }
  return out;
}

std::string describe_errno(int code) {
  const char* words = strerrordesc_np(code);
  return words != nullptr ? words : "Unknown error " + std::to_string(code);
}

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) {
    const int saved = errno;
    ::close(fd_);
    errno = saved;
  }
  fd_ = fd;
}

Result<UniqueFd> make_epoll() {
  UniqueFd fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!fd.valid()) return SysError::last("epoll_create1");
  return fd;
}

Result<UniqueFd> make_eventfd() {
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.valid()) return SysError::last("eventfd");
  return fd;
}

UniqueFd make_backend_socket(int family, bool tcp_keepalive) {
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return fd;
  const int on = 1;
  // These cannot fail on a TCP socket of ours; a failure would cost latency, not data.
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (tcp_keepalive) ::setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  return fd;
}

bool out_of_resources(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
         error == ENOSPC;
}

std::int64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace pg_gateway
