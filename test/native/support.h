// SPDX-License-Identifier: MIT
// What the tests of the core share: socket pairs, exact reads with a deadline,
// descriptor counting, descriptor exhaustion.
//
// Nothing here asserts: doctest is used on the main thread only, and by the tests.
#pragma once

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "fd.h"
#include "socket_address.h"

namespace pg_gateway::test {

// Nothing waits longer than this for what must happen.
inline constexpr int kPatienceMs = 10'000;

// True as soon as the condition holds; false if it never did in time.
template <typename Condition>
bool eventually(Condition condition, int patience_ms = kPatienceMs) {
  const std::int64_t deadline = monotonic_ns() + std::int64_t{patience_ms} * 1'000'000;
  while (!condition()) {
    if (monotonic_ns() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

struct Pair {
  UniqueFd a;
  UniqueFd b;
};

// A connected pair. Both ends are non-blocking, as the core's sockets are.
Pair unix_pair();
Pair tcp_pair();

// A listening socket on a free port of a loopback address; non-blocking.
UniqueFd listen_tcp(const std::string& address = "127.0.0.1", int backlog = 1024);
UniqueFd listen_unix(const std::string& path);
SocketAddress address_of(int socket);
bool has_ipv6();

// Connected, non-blocking; invalid if it was refused.
UniqueFd connect_to(const SocketAddress& address);
UniqueFd connect_unix(const std::string& path);
// One connection of the listener; invalid after the patience.
UniqueFd accept_one(int listener, int patience_ms = kPatienceMs);

void set_small_buffers(int socket);
// Closes with an RST.
void reset_connection(UniqueFd& socket);
// A FIN; the other direction goes on.
void send_fin(int socket);

// False if the peer failed or did not take it in time.
bool send_all(int socket, std::string_view bytes, int patience_ms = kPatienceMs);
// As many bytes as asked for, fewer if the stream ended or the patience did.
std::string receive(int socket, std::size_t bytes, int patience_ms = kPatienceMs);

enum class StreamEnd { kFin, kReset, kStillOpen };
struct Received {
  std::string bytes;
  StreamEnd end = StreamEnd::kStillOpen;
};
Received receive_to_end(int socket, int patience_ms = kPatienceMs);
bool is_readable(int socket, int patience_ms = kPatienceMs);
// Bytes that differ from place to place and from seed to seed.
std::string pattern_bytes(std::size_t count, std::uint32_t seed = 1);
// Sends the pattern over and over, from `offset` on, until nothing more has been taken
// for `quiet_ms`; how many bytes went.
std::size_t flood(int socket, std::string_view pattern, std::size_t offset, int quiet_ms);
// What `count` bytes of such a flood look like.
std::string flooded(std::string_view pattern, std::size_t count);

// The kernel's rows of both ends of a TCP connection over IPv4 in this network: state, queues,
// timers (proc(5), /proc/net/tcp). For people.
std::string kernels_view(int socket);

std::vector<int> open_fds();
// The number that the next descriptor of this process would have.
int next_number();
// Bytes in all pipes of this process.
std::size_t bytes_in_pipes();
// CPU time of all threads with this name, so far.
std::int64_t thread_cpu_ns(std::string_view name);

// While it lives, this process can open no more than `spare` further descriptors.
class FdExhaustion {
 public:
  explicit FdExhaustion(unsigned spare);
  ~FdExhaustion() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  FdExhaustion(const FdExhaustion&) = delete;
  FdExhaustion& operator=(const FdExhaustion&) = delete;

 private:
  rlimit before_{};
  std::vector<UniqueFd> fillers_;
};

}  // namespace pg_gateway::test
