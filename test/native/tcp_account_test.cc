// SPDX-License-Identifier: MIT
// The kernel's counts in every state of a connection that a session can be found in. Fails on
// a kernel that counts otherwise: there no session may be taken up.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "gateway.h"
#include "support.h"
#include "tcp_account.h"

using namespace pg_gateway;
using test::Pair;

namespace {

// `a` has sent the SYN.
TcpAccount of_a(const Pair& pair) {
  return tcp_account(pair.a.get(), Opened::kByUs);
}
TcpAccount of_b(const Pair& pair) {
  return tcp_account(pair.b.get(), Opened::kByPeer);
}

// The peer's last segment has come.
bool reaches(int socket, const std::vector<int>& states) {
  return test::eventually([&] {
    tcp_info info{};
    socklen_t length = sizeof info;
    ::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &length);
    for (const int state : states) {
      if (info.tcpi_state == state) return true;
    }
    return false;
  });
}
constexpr int kFinWait2 = 5;
constexpr int kClose = 7;
constexpr int kCloseWait = 8;

bool all_is_there(int socket, int bytes) {
  return test::eventually([&] {
    int unread = 0;
    return ::ioctl(socket, FIONREAD, &unread) == 0 && unread >= bytes;
  });
}

void check(const TcpAccount& account, std::uint64_t consumed, std::uint64_t written) {
  CHECK(account.known);
  CHECK_FALSE(account.connecting);
  CHECK_FALSE(account.never_opened);
  CHECK(account.consumed == consumed);
  CHECK(account.written == written);
}

}  // namespace

TEST_CASE("tcp account: what is no TCP connection is not known") {
  const Pair unix = test::unix_pair();
  const UniqueFd listener = test::listen_tcp();
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const UniqueFd datagrams(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  for (const int fd : {unix.a.get(), listener.get(), file.get(), datagrams.get(), -1}) {
    CHECK_FALSE(tcp_account(fd, Opened::kByUs).known);
    CHECK_FALSE(tcp_account(fd, Opened::kByPeer).known);
  }
}

TEST_CASE("tcp account: before there is a connection") {
  UniqueFd socket = make_backend_socket(AF_INET, TcpOptions{});
  SUBCASE("nothing was tried") {}
  SUBCASE("refused") {
    const SocketAddress nowhere = [] {
      const UniqueFd closed = test::listen_tcp();
      return test::address_of(closed.get());
    }();
    ::connect(socket.get(), nowhere.get(), nowhere.length);
    REQUIRE(reaches(socket.get(), {kClose}));
  }
  SUBCASE("not answered") {
    const test::StalledListener stalled;
    const SocketAddress address = test::address_of(stalled.get());
    ::connect(socket.get(), address.get(), address.length);
    const TcpAccount account = tcp_account(socket.get(), Opened::kByUs);
    CHECK(account.known);
    CHECK(account.connecting);
    CHECK_FALSE(account.never_opened);
    ::shutdown(socket.get(), SHUT_RDWR);  // given up: as if never begun
  }
  const TcpAccount account = tcp_account(socket.get(), Opened::kByUs);
  CHECK(account.known);
  CHECK(account.closed);
  CHECK(account.never_opened);
  CHECK(account.consumed == 0);
  CHECK(account.written == 0);
}

TEST_CASE("tcp account: established, the SYN counts for neither side") {
  const Pair pair = test::tcp_pair();
  check(of_a(pair), 0, 0);
  check(of_b(pair), 0, 0);
  CHECK_FALSE(of_a(pair).closed);
  CHECK_FALSE(of_a(pair).fin_sent);
}

TEST_CASE("tcp account: bytes, read and unread") {
  const Pair pair = test::tcp_pair();
  REQUIRE(test::send_all(pair.a.get(), std::string(1000, 'x')));
  REQUIRE(test::send_all(pair.b.get(), std::string(70, 'y')));
  REQUIRE(all_is_there(pair.b.get(), 1000));
  REQUIRE(all_is_there(pair.a.get(), 70));
  check(of_a(pair), 0, 1000);
  check(of_b(pair), 0, 70);
  REQUIRE(test::receive(pair.b.get(), 400).size() == 400);
  check(of_b(pair), 400, 70);
  REQUIRE(test::receive(pair.b.get(), 600).size() == 600);
  REQUIRE(test::receive(pair.a.get(), 1).size() == 1);
  check(of_b(pair), 1000, 70);
  check(of_a(pair), 1, 1000);
}

TEST_CASE("tcp account: bytes that the peer has not acknowledged") {
  const Pair pair = test::tcp_pair();
  const std::string pattern = test::pattern_bytes(1 << 16);
  const std::size_t up = test::flood(pair.a.get(), pattern, 0, 50);
  const std::size_t down = test::flood(pair.b.get(), pattern, 0, 50);
  int unacknowledged = 0;
  REQUIRE(::ioctl(pair.a.get(), TIOCOUTQ, &unacknowledged) == 0);
  REQUIRE(unacknowledged > 0);
  check(of_a(pair), 0, up);
  check(of_b(pair), 0, down);
  REQUIRE(test::receive(pair.b.get(), up / 2).size() == up / 2);
  check(of_b(pair), up / 2, down);
  check(of_a(pair), 0, up);
}

TEST_CASE("tcp account: a FIN is no byte, sent or received, read or unread") {
  for (const bool active : {true, false}) {
    CAPTURE(active);
    Pair pair = test::tcp_pair();
    const int closer = active ? pair.a.get() : pair.b.get();
    const int other = active ? pair.b.get() : pair.a.get();
    const auto of_closer = [&] { return active ? of_a(pair) : of_b(pair); };
    const auto of_other = [&] { return active ? of_b(pair) : of_a(pair); };
    REQUIRE(test::send_all(closer, std::string(100, 'x')));
    REQUIRE(test::send_all(other, std::string(30, 'y')));
    REQUIRE(test::receive(closer, 30).size() == 30);
    test::send_fin(closer);
    check(of_closer(), 30, 100);
    CHECK(of_closer().fin_sent);
    REQUIRE(reaches(other, {kCloseWait}));
    REQUIRE(reaches(closer, {kFinWait2}));
    check(of_closer(), 30, 100);
    check(of_other(), 0, 30);
    CHECK_FALSE(of_other().fin_sent);
    REQUIRE(test::receive(other, 60).size() == 60);
    check(of_other(), 60, 30);
    REQUIRE(test::receive(other, 40).size() == 40);
    check(of_other(), 100, 30);
    REQUIRE(test::receive_to_end(other).end == test::StreamEnd::kFin);
    check(of_other(), 100, 30);
    REQUIRE(test::send_all(other, std::string(5, 'z')));
    REQUIRE(all_is_there(closer, 5));
    check(of_other(), 100, 35);
    check(of_closer(), 30, 100);

    test::send_fin(other);
    REQUIRE(reaches(other, {kClose}));
    REQUIRE(reaches(closer, {kClose}));
    CHECK(of_other().closed);
    CHECK(of_closer().closed);
    // Closed: whether the last byte was a FIN cannot be told.
    CHECK(of_other().consumed == 101);
    CHECK(of_closer().consumed == 31);
    CHECK(of_other().written == 36);
    CHECK(of_closer().written == 101);
  }
}

TEST_CASE("tcp account: a FIN behind bytes that were not acknowledged") {
  const Pair pair = test::tcp_pair();
  const std::size_t sent = test::flood(pair.a.get(), test::pattern_bytes(1 << 16), 0, 50);
  test::send_fin(pair.a.get());
  check(of_a(pair), 0, sent);
  CHECK(of_a(pair).fin_sent);
}

TEST_CASE("tcp account: reset") {
  Pair pair = test::tcp_pair();
  REQUIRE(test::send_all(pair.a.get(), std::string(100, 'x')));
  REQUIRE(test::send_all(pair.b.get(), std::string(10, 'y')));
  REQUIRE(test::receive(pair.b.get(), 50).size() == 50);
  REQUIRE(all_is_there(pair.a.get(), 10));
  SUBCASE("found before it is read") {
    test::reset_connection(pair.b);
    REQUIRE(reaches(pair.a.get(), {kClose}));
  }
  SUBCASE("after") {
    test::reset_connection(pair.b);
    REQUIRE(test::receive_to_end(pair.a.get()).end == test::StreamEnd::kReset);
  }
  const TcpAccount account = of_a(pair);
  CHECK(account.known);
  CHECK(account.closed);
  CHECK_FALSE(account.never_opened);
  CHECK(account.consumed <= 11);
}

TEST_CASE("a direction is whole if the counts add up, or cannot tell") {
  struct Row {
    const char* name;
    TcpAccount source;
    TcpAccount sink;
    std::uint64_t in_pipe;
    bool whole;
  };
  const auto counts = [](std::uint64_t consumed, std::uint64_t written, bool closed = false) {
    TcpAccount account;
    account.known = true;
    account.consumed = consumed;
    account.written = written;
    account.closed = closed;
    return account;
  };
  const TcpAccount unknown;
  const std::vector<Row> rows = {
      {"nothing yet", counts(0, 0), counts(0, 0), 0, true},
      {"all passed on", counts(9, 1), counts(2, 9), 0, true},
      {"some in the pipe", counts(9, 0), counts(0, 4), 5, true},
      {"a byte lost", counts(9, 0), counts(0, 8), 0, false},
      {"a byte lost from the pipe", counts(9, 0), counts(0, 4), 4, false},
      {"a byte doubled", counts(9, 0), counts(0, 9), 1, false},
      {"a byte from nowhere", counts(0, 0), counts(0, 1), 0, false},
      {"the source closed, its FIN counted", counts(10, 0, true), counts(0, 9), 0, true},
      {"the source closed, its FIN not counted", counts(9, 0, true), counts(0, 9), 0, true},
      {"the source closed, more is missing", counts(11, 0, true), counts(0, 9), 0, false},
      {"the source closed, a byte doubled", counts(9, 0, true), counts(0, 10), 0, false},
      {"the sink is gone", counts(9, 0), counts(0, 3, true), 0, true},
      {"AF_UNIX source", unknown, counts(0, 9), 0, true},
      {"AF_UNIX sink", counts(9, 0), unknown, 0, true},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    CHECK(direction_is_whole(row.source, row.sink, row.in_pipe) == row.whole);
  }
}
