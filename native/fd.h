// SPDX-License-Identifier: MIT
// Ownership of file descriptors and the syscalls that make them.
//
// Owns: nothing but what a UniqueFd holds. Any thread.
// Invariant: no descriptor of the core is held as a bare int that must be closed;
// a bare int in a signature borrows.
#pragma once

#include <climits>
#include <cstdint>
#include <string>
#include <utility>

namespace pg_gateway {

// A failed system call: which one, and its errno. `call` is a string literal.
struct SysError {
  const char* call = nullptr;
  int code = 0;

  explicit operator bool() const { return call != nullptr; }
  // "connect: Connection refused (ECONNREFUSED)"
  std::string text() const;

  static SysError last(const char* call);
};

// A value, or the system call that prevented it.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT(google-explicit-constructor)
  Result(SysError error) : error_(error) {}      // NOLINT(google-explicit-constructor)

  bool ok() const { return !error_; }
  const SysError& error() const { return error_; }
  T& value() { return value_; }
  T take() { return std::move(value_); }

 private:
  T value_{};
  SysError error_{};
};

// The only owner of a descriptor. Closing never fails the caller: after close(2)
// the number is gone whatever it returned (close(2), "Dealing with error returns").
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

Result<UniqueFd> make_epoll();
Result<UniqueFd> make_eventfd();

// By what the kernel notices that the peer of a connection has vanished without a word: tcp(7).
struct TcpOptions {
  bool keepalive = true;
  // Of an idle connection; 0 is the kernel's own: net.ipv4.tcp_keepalive_time, _intvl, _probes.
  int keepalives_idle_s = 60;
  int keepalives_interval_s = 10;
  int keepalives_count = 12;
  // How long data may go unacknowledged. It ends a connection to a peer that lives, too, if that
  // takes nothing for so long. 0: net.ipv4.tcp_retries2, which a closed window does not count for.
  int user_timeout_ms = 0;
};

// A socket for a connection to a server: TCP_NODELAY, and those options. Invalid, with errno set,
// if there is none to be had.
UniqueFd make_backend_socket(int family, const TcpOptions& options);

// For a listening socket: what each connection accepted from now on inherits, whatever had been
// set before. Without an effect on those there are.
void set_inherited_options(int listener, const TcpOptions& options);

// What the data plane leaves to the rest of the process. The kernel gives the lowest free number
// (open(2)): one that is not below a bound tells that all below it are taken.
struct DescriptorBounds {
  int clients = INT_MAX;  // nobody is accepted past this
  int all = INT_MAX;      // no pipe and no connection to a server is made past this
};

// The descriptor that would be made next; INT_MAX: there is none to be had. `any`: an open one.
int next_descriptor(int any);

// The words of an errno, "Connection refused".
std::string describe_errno(int code);

// Descriptors, buffers, memory or epoll watches are out: trying the same again at once is
// useless, trying later is not (EMFILE, ENFILE, ENOBUFS, ENOMEM; ENOSPC: epoll_ctl(2)).
bool out_of_resources(int error);

// The same call may well succeed in a while: nothing is wrong but that resources are out, or that
// it was interrupted.
bool passes(const SysError& error);

// CLOCK_MONOTONIC in nanoseconds: the only clock of the data plane.
std::int64_t monotonic_ns();

}  // namespace pg_gateway
