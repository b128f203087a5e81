// SPDX-License-Identifier: MIT
#include "crash_points.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>
#include <utility>

#include "parking_lot.h"

namespace pg_gateway::test {

namespace {

StepBoard* board_of_this_process = nullptr;  // null: not armed
std::uint64_t kill_at = 0;
thread_local bool has_unparked_client = false;
// A queue of some 26 messages: the kernel doubles it (socket(7)), and counts 768 for each.
constexpr int kLotBytes = 10 * 1024;
constexpr int kBackendBytes = 64 * 1024;

void step(const char* call, const char* side) {
  StepBoard* board = board_of_this_process;
  if (board == nullptr || board->steps.fetch_add(1) + 1 != kill_at) return;
  std::snprintf(board->call.data(), board->call.size(), "%s %s", side, call);
  board->killed.store(true);
  ::syscall(SYS_kill, ::getpid(), SIGKILL);
  for (;;) ::pause();
}

// A system call between its two steps.
template <typename... Arguments>
long call(const char* name, long number, Arguments... arguments) {
  step(name, "before");
  const long result = ::syscall(number, arguments...);
  const int error = errno;
  step(name, "after");
  errno = error;
  return result;
}

// A thread parks a client before it accepts the next.
void note_unparked_client(bool has) {
  StepBoard* board = board_of_this_process;
  if (board == nullptr || std::exchange(has_unparked_client, has) == has) return;
  if (has) {
    ++board->unparked;
  } else {
    --board->unparked;
  }
}

bool is_parking(const msghdr* message) {
  std::uint32_t version = 0;
  if (message->msg_iovlen != 1 || message->msg_iov->iov_len != sizeof(ParkedMessage)) return false;
  std::memcpy(&version, message->msg_iov->iov_base, sizeof version);
  return version == Ledger::kVersion;
}

}  // namespace

StepBoard& make_step_board() {
  void* memory =
      ::mmap(nullptr, sizeof(StepBoard), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return *new (memory) StepBoard;
}

void arm_crash_point(StepBoard& board, std::uint64_t at) {
  board.steps = 0;
  board.killed = false;
  board.unparked = 0;
  board.call = {};
  kill_at = at;
  board_of_this_process = &board;
}

}  // namespace pg_gateway::test

#ifndef __SANITIZE_THREAD__

using pg_gateway::test::board_of_this_process;
using pg_gateway::test::call;
using pg_gateway::test::note_unparked_client;
using pg_gateway::test::step;

// In the order of the alphabet. The signatures are those of the C library's headers.
extern "C" {

int accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  step("accept4", "before");
  // Before the call: who is killed by somebody else in the midst of it may have a client.
  note_unparked_client(true);
  const auto result = static_cast<int>(::syscall(SYS_accept4, fd, address, length, flags));
  const int error = errno;
  if (result < 0) note_unparked_client(false);
  step("accept4", "after");
  errno = error;
  return result;
}

int close(int fd) {
  return static_cast<int>(call("close", SYS_close, fd));
}

int connect(int fd, const sockaddr* address, socklen_t length) {
  return static_cast<int>(call("connect", SYS_connect, fd, address, length));
}

int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  return static_cast<int>(call("epoll_ctl", SYS_epoll_ctl, epoll, operation, fd, event));
}

int epoll_wait(int epoll, epoll_event* events, int count, int timeout) {
  return static_cast<int>(
      call("epoll_wait", SYS_epoll_pwait, epoll, events, count, timeout, nullptr, 8L));
}

int ftruncate(int fd, off_t length) noexcept {
  return static_cast<int>(call("ftruncate", SYS_ftruncate, fd, length));
}

int getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept {
  return static_cast<int>(call("getsockopt", SYS_getsockopt, fd, level, name, value, length));
}

int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return static_cast<int>(call("ioctl", SYS_ioctl, fd, request, argument));
}

int memfd_create(const char* name, unsigned flags) noexcept {
  return static_cast<int>(call("memfd_create", SYS_memfd_create, name, flags));
}

int pipe2(int* ends, int flags) noexcept {
  return static_cast<int>(call("pipe2", SYS_pipe2, ends, flags));
}

ssize_t pread(int fd, void* to, size_t bytes, off_t offset) {
  return call("pread", SYS_pread64, fd, to, bytes, offset);
}

ssize_t read(int fd, void* to, size_t bytes) {
  return call("read", SYS_read, fd, to, bytes);
}

ssize_t recv(int fd, void* to, size_t bytes, int flags) {
  return call("recv", SYS_recvfrom, fd, to, bytes, flags, nullptr, nullptr);
}

ssize_t recvmsg(int fd, msghdr* message, int flags) {
  return call("recvmsg", SYS_recvmsg, fd, message, flags);
}

ssize_t send(int fd, const void* from, size_t bytes, int flags) {
  return call("send", SYS_sendto, fd, from, bytes, flags, nullptr, 0L);
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  step("sendmsg", "before");
  const ssize_t result = ::syscall(SYS_sendmsg, fd, message, flags);
  const int error = errno;
  if (result > 0 && pg_gateway::test::is_parking(message)) note_unparked_client(false);
  step("sendmsg", "after");
  errno = error;
  return result;
}

int setsockopt(int fd, int level, int name, const void* value, socklen_t length) noexcept {
  const bool of_the_lot =
      board_of_this_process != nullptr && level == SOL_SOCKET && name == SO_SNDBUF;
  const void* what = of_the_lot ? &pg_gateway::test::kLotBytes : value;
  return static_cast<int>(call("setsockopt", SYS_setsockopt, fd, level, name, what, length));
}

int shutdown(int fd, int how) noexcept {
  return static_cast<int>(call("shutdown", SYS_shutdown, fd, how));
}

int socket(int domain, int type, int protocol) noexcept {
  const auto fd = static_cast<int>(call("socket", SYS_socket, domain, type, protocol));
  if (fd >= 0 && board_of_this_process != nullptr && domain != AF_UNIX) {
    const int& bytes = pg_gateway::test::kBackendBytes;
    ::syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  }
  return fd;
}

int socketpair(int domain, int type, int protocol, int* ends) noexcept {
  return static_cast<int>(call("socketpair", SYS_socketpair, domain, type, protocol, ends));
}

ssize_t splice(int from, off64_t* from_at, int to, off64_t* to_at, size_t bytes, unsigned flags) {
  return call("splice", SYS_splice, from, from_at, to, to_at, bytes, flags);
}

ssize_t write(int fd, const void* from, size_t bytes) {
  return call("write", SYS_write, fd, from, bytes);
}

}  // extern "C"

#endif
