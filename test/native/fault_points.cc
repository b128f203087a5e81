// SPDX-License-Identifier: MIT
#include "fault_points.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string_view>

namespace pg_gateway::test {

namespace {

// What is true once a call has failed so.
enum class After : std::uint8_t {
  kAsBefore,
  kDead,  // the connection is gone
  kDone,  // the call has done its work all the same
};

struct Errors {
  std::string_view call;
  std::string_view operation;  // "*": any
  std::string_view kind;       // "*": any
  After after;
  std::vector<int> codes;
};

// From the manual pages and the kernel's sources. Left out is
//  - what only a mistake of the caller brings about: EBADF, EFAULT, EINVAL, ENOTSOCK ...;
//  - what is an answer and no failure, and comes by itself: EAGAIN of a socket that is not ready,
//    EINPROGRESS, the errors that a server that refuses or is silent brings about. A splice(2) or
//    recv(2) that says EAGAIN although there is something owes us no edge: the kernel does not;
//  - calls that the kernel has nothing to fail of, once their arguments are right: EPOLL_CTL_DEL,
//    shutdown(2) of an AF_UNIX socket, fcntl(2) but for the operations below, ioctl(2) of FIONREAD,
//    SIOCINQ and SIOCOUTQ;
//  - what a policy (seccomp, a security module) forbids, which fails each time and not once.
const std::vector<Errors>& table() {
  static const std::vector<Errors> errors = {
      // Of resources, of that one connection, of the network (accept(2), "Error handling").
      {"accept4",
       "*",
       "*",
       After::kAsBefore,
       {EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EINTR, EPERM, EPROTO, ENETDOWN, ENOPROTOOPT,
        EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH}},
      {"bind", "*", "*", After::kAsBefore, {EACCES, EADDRINUSE, EADDRNOTAVAIL, ENOMEM}},
      // The descriptor is gone (close(2), "Dealing with error returns").
      {"close", "*", "*", After::kDone, {EINTR, EIO}},
      {"connect",
       "*",
       "tcp",
       After::kAsBefore,
       {EACCES, EADDRNOTAVAIL, EAGAIN, ECONNREFUSED, EHOSTUNREACH, EINTR, ENETUNREACH, ENOBUFS,
        ENOMEM, EPERM, ETIMEDOUT}},
      {"connect", "*", "dgram", After::kAsBefore, {EACCES, ECONNREFUSED, ENOENT, ENOMEM}},
      {"epoll_create1", "*", "*", After::kAsBefore, {EMFILE, ENFILE, ENOMEM}},
      {"epoll_ctl", "EPOLL_CTL_ADD", "*", After::kAsBefore, {ENOMEM, ENOSPC}},
      {"epoll_pwait2", "*", "*", After::kAsBefore, {EINTR, ENOSYS, EPERM}},
      {"epoll_wait", "*", "*", After::kAsBefore, {EINTR}},
      {"eventfd", "*", "*", After::kAsBefore, {EMFILE, ENFILE, ENODEV, ENOMEM}},
      {"eventfd_read", "*", "*", After::kAsBefore, {EINTR}},
      {"eventfd_write", "*", "*", After::kAsBefore, {EINTR}},
      {"fcntl", "F_ADD_SEALS", "*", After::kAsBefore, {EBUSY, EPERM}},
      {"fcntl", "F_DUPFD_CLOEXEC", "*", After::kAsBefore, {EMFILE, ENOMEM}},
      {"fcntl", "F_SETPIPE_SZ", "*", After::kAsBefore, {EBUSY, ENOMEM, EPERM}},
      {"fstat", "*", "*", After::kAsBefore, {ENOMEM}},
      {"ftruncate", "*", "*", After::kAsBefore, {EINTR, ENOMEM}},
      {"getpeername", "*", "*", After::kAsBefore, {ENOBUFS}},
      {"getpeername", "*", "tcp", After::kDead, {ENOTCONN}},
      {"getrandom", "*", "*", After::kAsBefore, {EAGAIN, EINTR, ENOSYS}},
      {"getsockname", "*", "*", After::kAsBefore, {ENOBUFS}},
      {"getsockopt", "*", "*", After::kAsBefore, {ENOBUFS, ENOMEM}},
      {"listen", "*", "*", After::kAsBefore, {EADDRINUSE}},
      {"memfd_create", "*", "*", After::kAsBefore, {EMFILE, ENFILE, ENOMEM}},
      {"mmap", "*", "*", After::kAsBefore, {EAGAIN, ENFILE, ENOMEM}},
      {"pipe2", "*", "*", After::kAsBefore, {EMFILE, ENFILE, ENOMEM}},
      {"poll", "*", "*", After::kAsBefore, {EINTR, ENOMEM}},
      {"pread", "*", "*", After::kAsBefore, {EINTR}},
      {"recv", "*", "*", After::kAsBefore, {EINTR, ENOMEM}},
      {"recv", "*", "tcp", After::kDead, {ECONNRESET, ETIMEDOUT}},
      {"recv", "*", "unix", After::kDead, {ECONNRESET}},
      {"recvmsg", "*", "*", After::kAsBefore, {EINTR, ENOMEM}},
      {"send", "*", "*", After::kAsBefore, {EAGAIN, EINTR, ENOBUFS, ENOMEM}},
      {"send", "*", "tcp", After::kDead, {ECONNRESET, EPIPE, ETIMEDOUT}},
      {"send", "*", "unix", After::kDead, {ECONNRESET, EPIPE}},
      {"sendmsg", "*", "*", After::kAsBefore, {EAGAIN, EINTR, ENOBUFS, ENOMEM}},
      {"sendmsg", "*", "seqpacket", After::kAsBefore, {ETOOMANYREFS}},
      {"sendmsg", "*", "dgram", After::kAsBefore, {ECONNREFUSED, ETOOMANYREFS}},
      {"setsockopt", "*", "*", After::kAsBefore, {ENOBUFS, ENOMEM}},
      // A mutex that a signal interrupts: unix_set_peek_off() in the kernel.
      {"setsockopt", "SO_PEEK_OFF", "*", After::kAsBefore, {EINTR}},
      // Only a connection that is gone is not connected any more (inet_shutdown() in the kernel).
      {"shutdown", "*", "tcp", After::kDead, {ENOTCONN}},
      {"socket",
       "*",
       "*",
       After::kAsBefore,
       {EACCES, EAFNOSUPPORT, EMFILE, ENFILE, ENOBUFS, ENOMEM}},
      {"socketpair", "*", "*", After::kAsBefore, {EMFILE, ENFILE, ENOBUFS, ENOMEM}},
      {"splice", "*", "*", After::kAsBefore, {EINTR, ENOMEM}},
      {"splice", "in", "tcp", After::kDead, {ECONNRESET, EHOSTUNREACH, ETIMEDOUT}},
      {"splice", "in", "unix", After::kDead, {ECONNRESET}},
      {"splice", "out", "*", After::kAsBefore, {ENOBUFS}},
      {"splice", "out", "tcp", After::kDead, {ECONNRESET, EHOSTUNREACH, EPIPE, ETIMEDOUT}},
      {"splice", "out", "unix", After::kDead, {ECONNRESET, EPIPE}},
  };
  return errors;
}

std::atomic<bool> armed{false};
std::mutex mutex;  // guards all below
Fault chosen;
std::map<std::string, unsigned> made;
std::uint64_t total = 0;
bool struck = false;
bool connection_ended = false;

// The main thread is the test's own, and for a while the owner of an engine.
thread_local const bool is_main_thread = ::syscall(SYS_gettid) == ::getpid();
thread_local bool is_owner = false;

int raw_option(int fd, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  return ::syscall(SYS_getsockopt, fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

std::string_view kind_of(int fd) {
  const int domain = raw_option(fd, SO_DOMAIN);
  switch (raw_option(fd, SO_TYPE)) {
    case SOCK_STREAM:
      return domain == AF_UNIX ? "unix" : "tcp";
    case SOCK_SEQPACKET:
      return "seqpacket";
    case SOCK_DGRAM:
      return "dgram";
    default:
      return "";
  }
}

std::string name_of(const SystemCall& call) {
  std::string name = is_main_thread ? "owner " : "worker ";
  name += call.name;
  if (*call.operation != '\0') name.append(".").append(call.operation);
  if (call.fd >= 0) name.append("/").append(kind_of(call.fd));
  return name;
}

// The parts of a name that name_of() has made.
struct Parts {
  std::string_view call;
  std::string_view operation;
  std::string_view kind;
};

Parts parts_of(std::string_view name) {
  Parts parts;
  name.remove_prefix(std::min(name.size(), name.find(' ') + 1));
  const std::size_t slash = std::min(name.size(), name.find('/'));
  if (slash < name.size()) parts.kind = name.substr(slash + 1);
  name = name.substr(0, slash);
  const std::size_t dot = std::min(name.size(), name.find('.'));
  if (dot < name.size()) parts.operation = name.substr(dot + 1);
  parts.call = name.substr(0, dot);
  return parts;
}

bool applies(const Errors& errors, const Parts& parts) {
  return errors.call == parts.call &&
         (errors.operation == "*" || errors.operation == parts.operation) &&
         (errors.kind == "*" || errors.kind == parts.kind);
}

// As a reset of the peer's leaves it: both sides learn that it is gone.
void end_connection(int fd) {
  const sockaddr nobody{AF_UNSPEC, {}};
  if (kind_of(fd) == "tcp") {
    ::syscall(SYS_connect, fd, &nobody, sizeof nobody);
  } else {
    ::syscall(SYS_shutdown, fd, SHUT_RDWR);
  }
}

void bring_about(After after, int fd) {
  switch (after) {
    case After::kAsBefore:
      break;
    case After::kDead:
      end_connection(fd);
      connection_ended = true;
      break;
    case After::kDone:
      ::syscall(SYS_close, fd);
      break;
  }
}

}  // namespace

bool is_socket(int fd) {
  return raw_option(fd, SO_TYPE) >= 0;
}

bool faults_are_armed_here() {
  return armed.load(std::memory_order_relaxed) && (!is_main_thread || is_owner);
}

int fault_of(const SystemCall& call) {
  if (!faults_are_armed_here()) return 0;
  const std::string name = name_of(call);
  const std::lock_guard lock(mutex);
  ++total;
  const unsigned nth = ++made[name];
  if (struck || nth != chosen.nth || name != chosen.call) return 0;
  struck = true;
  const Parts parts = parts_of(name);
  for (const Errors& errors : table()) {
    const auto& codes = errors.codes;
    if (!applies(errors, parts) ||
        std::find(codes.begin(), codes.end(), chosen.error) == codes.end()) {
      continue;
    }
    bring_about(errors.after, call.fd);
    break;
  }
  return chosen.error;
}

std::vector<int> errors_of(const std::string& call) {
  std::vector<int> codes;
  const Parts parts = parts_of(call);
  for (const Errors& errors : table()) {
    if (applies(errors, parts)) {
      codes.insert(codes.end(), errors.codes.begin(), errors.codes.end());
    }
  }
  return codes;
}

std::string Fault::text() const {
  const char* name = strerrorname_np(error);
  return call + "," + (name != nullptr ? name : "?") + "," + std::to_string(nth);
}

Fault Fault::parse(const std::string& text) {
  Fault fault;
  const std::size_t first = text.find(',');
  const std::size_t second = text.find(',', first + 1);
  if (first == std::string::npos || second == std::string::npos) return fault;
  fault.call = text.substr(0, first);
  const std::string name = text.substr(first + 1, second - first - 1);
  constexpr int kErrors = 134;
  for (int code = 1; code < kErrors; ++code) {
    const char* known = strerrorname_np(code);
    if (known != nullptr && name == known) fault.error = code;
  }
  fault.nth = static_cast<unsigned>(std::strtoul(text.c_str() + second + 1, nullptr, 10));
  return fault;
}

void arm_fault(const Fault& fault) {
  const std::lock_guard lock(mutex);
  chosen = fault;
  made.clear();
  total = 0;
  struck = false;
  connection_ended = false;
  armed = true;
}

void disarm_faults() {
  armed = false;
}

bool fault_has_struck() {
  const std::lock_guard lock(mutex);
  return struck;
}

bool fault_has_ended_connection() {
  const std::lock_guard lock(mutex);
  return connection_ended;
}

std::string struck_call() {
  const std::lock_guard lock(mutex);
  return struck ? std::string(parts_of(chosen.call).call) : "";
}

std::map<std::string, unsigned> calls_made() {
  const std::lock_guard lock(mutex);
  return made;
}

std::uint64_t number_of_calls() {
  const std::lock_guard lock(mutex);
  return total;
}

AsOwner::AsOwner() {
  is_owner = true;
}

AsOwner::~AsOwner() {
  is_owner = false;
}

}  // namespace pg_gateway::test
