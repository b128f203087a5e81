// SPDX-License-Identifier: MIT
// The C library's wrappers of all the system calls that the data plane makes, defined once more in
// the test executable: so the core that is tested is the one that is shipped. Each call can be the
// last thing that a process does (crash_points.h), and can fail (fault_points.h).
//
// Until one of these is armed the calls go to the kernel as they are. Any thread.
#include "system_calls.h"

#ifndef __SANITIZE_THREAD__

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <ctime>

namespace pg_gateway::test {

namespace {

// A queue of some 26 messages: the kernel doubles it (socket(7)), and counts 768 for each.
constexpr int kLotBytes = 10 * 1024;
constexpr int kBackendBytes = 64 * 1024;

// Little is to fill them.
bool buffers_are_small() {
  return crash_is_armed() || faults_are_armed_here();
}

// A system call between its two steps, or the failure that is to come instead.
template <typename... Arguments>
long make(const SystemCall& call, long number, Arguments... arguments) {
  crash_step(call.name, "before");
  long result = -1;
  int error = fault_of(call);
  if (error == 0) {
    result = ::syscall(number, arguments...);
    error = errno;
  }
  crash_step(call.name, "after");
  errno = error;
  return result;
}

template <typename... Arguments>
int make_int(const SystemCall& call, long number, Arguments... arguments) {
  return static_cast<int>(make(call, number, arguments...));
}

const char* epoll_operation(int operation) {
  return operation == EPOLL_CTL_ADD ? "EPOLL_CTL_ADD" : "EPOLL_CTL_DEL";
}

const char* fcntl_operation(int command) {
  switch (command) {
    case F_DUPFD_CLOEXEC:
      return "F_DUPFD_CLOEXEC";
    case F_SETPIPE_SZ:
      return "F_SETPIPE_SZ";
    case F_ADD_SEALS:
      return "F_ADD_SEALS";
    default:
      return "";
  }
}

const char* option_name(int level, int name) {
  if (level != SOL_SOCKET) return level == IPPROTO_TCP ? "IPPROTO_TCP" : "IPPROTO_IPV6";
  switch (name) {
    case SO_PEEK_OFF:
      return "SO_PEEK_OFF";
    case SO_RCVLOWAT:
      return "SO_RCVLOWAT";
    case SO_SNDBUF:
      return "SO_SNDBUF";
    case SO_ERROR:
      return "SO_ERROR";
    default:
      return "SOL_SOCKET";
  }
}

}  // namespace

}  // namespace pg_gateway::test

using pg_gateway::test::crash_step;
using pg_gateway::test::fault_of;
using pg_gateway::test::make;
using pg_gateway::test::make_int;
using pg_gateway::test::note_unparked_client;

// In the order of the alphabet. The signatures are those of the C library's headers.
extern "C" {

int accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  crash_step("accept4", "before");
  // Before the call: who is killed by somebody else in the midst of it may have a client.
  note_unparked_client(true);
  int result = -1;
  int error = fault_of({"accept4", "", fd});
  if (error == 0) {
    result = static_cast<int>(::syscall(SYS_accept4, fd, address, length, flags));
    error = errno;
  }
  if (result < 0) note_unparked_client(false);
  crash_step("accept4", "after");
  errno = error;
  return result;
}

int bind(int fd, const sockaddr* address, socklen_t length) noexcept {
  return make_int({"bind", "", fd}, SYS_bind, fd, address, length);
}

int close(int fd) {
  return make_int({"close", "", fd}, SYS_close, fd);
}

int connect(int fd, const sockaddr* address, socklen_t length) {
  return make_int({"connect", "", fd}, SYS_connect, fd, address, length);
}

int epoll_create1(int flags) noexcept {
  return make_int({"epoll_create1"}, SYS_epoll_create1, flags);
}

int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  return make_int({"epoll_ctl", pg_gateway::test::epoll_operation(operation)}, SYS_epoll_ctl, epoll,
                  operation, fd, event);
}

int epoll_pwait2(int epoll, epoll_event* events, int count, const timespec* timeout,
                 const sigset_t* mask) {
  return make_int({"epoll_pwait2"}, SYS_epoll_pwait2, epoll, events, count, timeout, mask, 8L);
}

int epoll_wait(int epoll, epoll_event* events, int count, int timeout) {
  return make_int({"epoll_wait"}, SYS_epoll_pwait, epoll, events, count, timeout, nullptr, 8L);
}

int eventfd(unsigned count, int flags) noexcept {
  return make_int({"eventfd"}, SYS_eventfd2, count, flags);
}

int eventfd_read(int fd, eventfd_t* value) {
  return make({"eventfd_read"}, SYS_read, fd, value, sizeof *value) == long{sizeof *value} ? 0 : -1;
}

int eventfd_write(int fd, eventfd_t value) {
  return make({"eventfd_write"}, SYS_write, fd, &value, sizeof value) == long{sizeof value} ? 0
                                                                                            : -1;
}

int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return make_int({"fcntl", pg_gateway::test::fcntl_operation(command)}, SYS_fcntl, fd, command,
                  argument);
}

int fstat(int fd, struct stat* facts) noexcept {
  return make_int({"fstat"}, SYS_fstat, fd, facts);
}

int ftruncate(int fd, off_t length) noexcept {
  return make_int({"ftruncate"}, SYS_ftruncate, fd, length);
}

int getpeername(int fd, sockaddr* address, socklen_t* length) noexcept {
  return make_int({"getpeername", "", fd}, SYS_getpeername, fd, address, length);
}

ssize_t getrandom(void* to, size_t bytes, unsigned flags) {
  return make({"getrandom"}, SYS_getrandom, to, bytes, flags);
}

int getsockname(int fd, sockaddr* address, socklen_t* length) noexcept {
  return make_int({"getsockname", "", fd}, SYS_getsockname, fd, address, length);
}

int getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept {
  return make_int({"getsockopt", pg_gateway::test::option_name(level, name), fd}, SYS_getsockopt,
                  fd, level, name, value, length);
}

int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return make_int({"ioctl", "", fd}, SYS_ioctl, fd, request, argument);
}

int listen(int fd, int backlog) noexcept {
  return make_int({"listen", "", fd}, SYS_listen, fd, backlog);
}

int memfd_create(const char* name, unsigned flags) noexcept {
  return make_int({"memfd_create"}, SYS_memfd_create, name, flags);
}

void* mmap(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) noexcept {
  const long result = make({"mmap"}, SYS_mmap, address, bytes, protection, flags, fd, offset);
  return reinterpret_cast<void*>(result);  // NOLINT(performance-no-int-to-ptr): mmap(2) itself
}

int pipe2(int* ends, int flags) noexcept {
  return make_int({"pipe2"}, SYS_pipe2, ends, flags);
}

int poll(pollfd* fds, nfds_t count, int timeout) {
  return make_int({"poll"}, SYS_poll, fds, count, timeout);
}

ssize_t pread(int fd, void* to, size_t bytes, off_t offset) {
  return make({"pread"}, SYS_pread64, fd, to, bytes, offset);
}

ssize_t read(int fd, void* to, size_t bytes) {
  return make({"read"}, SYS_read, fd, to, bytes);
}

ssize_t recv(int fd, void* to, size_t bytes, int flags) {
  return make({"recv", (flags & MSG_PEEK) != 0 ? "MSG_PEEK" : "", fd}, SYS_recvfrom, fd, to, bytes,
              flags, nullptr, nullptr);
}

ssize_t recvmsg(int fd, msghdr* message, int flags) {
  return make({"recvmsg", "", fd}, SYS_recvmsg, fd, message, flags);
}

ssize_t send(int fd, const void* from, size_t bytes, int flags) {
  return make({"send", "", fd}, SYS_sendto, fd, from, bytes, flags, nullptr, 0L);
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  crash_step("sendmsg", "before");
  ssize_t result = -1;
  int error = fault_of({"sendmsg", "", fd});
  if (error == 0) {
    result = ::syscall(SYS_sendmsg, fd, message, flags);
    error = errno;
  }
  if (result > 0 && pg_gateway::test::is_parking(message)) note_unparked_client(false);
  crash_step("sendmsg", "after");
  errno = error;
  return result;
}

int setsockopt(int fd, int level, int name, const void* value, socklen_t length) noexcept {
  const bool of_the_lot =
      pg_gateway::test::buffers_are_small() && level == SOL_SOCKET && name == SO_SNDBUF;
  const void* what = of_the_lot ? &pg_gateway::test::kLotBytes : value;
  return make_int({"setsockopt", pg_gateway::test::option_name(level, name), fd}, SYS_setsockopt,
                  fd, level, name, what, length);
}

int shutdown(int fd, int how) noexcept {
  return make_int({"shutdown", "", fd}, SYS_shutdown, fd, how);
}

int socket(int domain, int type, int protocol) noexcept {
  const int fd = make_int({"socket"}, SYS_socket, domain, type, protocol);
  if (fd >= 0 && pg_gateway::test::buffers_are_small() && domain != AF_UNIX) {
    const int& bytes = pg_gateway::test::kBackendBytes;
    ::syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  }
  return fd;
}

int socketpair(int domain, int type, int protocol, int* ends) noexcept {
  return make_int({"socketpair"}, SYS_socketpair, domain, type, protocol, ends);
}

ssize_t splice(int from, off64_t* from_at, int to, off64_t* to_at, size_t bytes, unsigned flags) {
  const bool in = pg_gateway::test::faults_are_armed_here() && pg_gateway::test::is_socket(from);
  return make({"splice", in ? "in" : "out", in ? from : to}, SYS_splice, from, from_at, to, to_at,
              bytes, flags);
}

ssize_t write(int fd, const void* from, size_t bytes) {
  return make({"write"}, SYS_write, fd, from, bytes);
}

}  // extern "C"

#endif
