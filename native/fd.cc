// SPDX-License-Identifier: MIT
#include "fd.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

namespace pg_gateway {

namespace {

void set_option(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

void set_tcp(int fd, int name, int value) {
  set_option(fd, IPPROTO_TCP, name, value);
}

std::array<std::pair<int, int>, 3> keepalive_options(const TcpOptions& options) {
  return {{{TCP_KEEPIDLE, options.keepalives_idle_s},
           {TCP_KEEPINTVL, options.keepalives_interval_s},
           {TCP_KEEPCNT, options.keepalives_count}}};
}

// What a socket of which nothing was said has: the option itself cannot be unset, and /proc/sys
// may be out of sight. 0 if there is no socket to be had.
int kernels_own(int name) {
  const UniqueFd fresh(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int value = 0;
  socklen_t length = sizeof value;
  return ::getsockopt(fresh.get(), IPPROTO_TCP, name, &value, &length) == 0 ? value : 0;
}

}  // namespace

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

UniqueFd make_backend_socket(int family, const TcpOptions& options) {
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return fd;
  // These cannot fail on a TCP socket of ours; a failure would cost latency, not data.
  set_tcp(fd.get(), TCP_NODELAY, 1);
  // A new socket has the kernel's own of the rest.
  if (options.user_timeout_ms != 0) set_tcp(fd.get(), TCP_USER_TIMEOUT, options.user_timeout_ms);
  if (!options.keepalive) return fd;
  set_option(fd.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
  for (const auto& [name, value] : keepalive_options(options)) {
    if (value != 0) set_tcp(fd.get(), name, value);
  }
  return fd;
}

void set_inherited_options(int listener, const TcpOptions& options) {
  set_option(listener, SOL_SOCKET, SO_KEEPALIVE, options.keepalive ? 1 : 0);
  set_tcp(listener, TCP_USER_TIMEOUT, options.user_timeout_ms);
  for (const auto& [name, value] : keepalive_options(options)) {
    const int wanted = value != 0 ? value : kernels_own(name);
    if (wanted > 0) set_tcp(listener, name, wanted);
  }
}

int next_descriptor(int any) {
  const UniqueFd next(::fcntl(any, F_DUPFD_CLOEXEC, 0));
  return next.valid() ? next.get() : INT_MAX;
}

bool out_of_resources(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
         error == ENOSPC;
}

bool passes(const SysError& error) {
  return error && (out_of_resources(error.code) || error.code == EAGAIN || error.code == EINTR);
}

std::int64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace pg_gateway
