// SPDX-License-Identifier: MIT
#include "listener.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string>

#include "support.h"

namespace pg_gateway {

namespace {

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  ::getsockopt(fd, level, name, &value, &length);
  return value;
}

// Of a listening socket the kernel tells it here (tcp_diag and tcp_get_info() in net/ipv4).
int backlog(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
  return static_cast<int>(info.tcpi_sacked);
}

// listen(2) takes no more, whatever was asked for.
int system_backlog() {
  int limit = 0;
  std::ifstream("/proc/sys/net/core/somaxconn") >> limit;
  return limit;
}

}  // namespace

TEST_CASE("accepted sockets inherit TCP_NODELAY and SO_KEEPALIVE") {
  for (const bool keepalive : {true, false}) {
    CAPTURE(keepalive);
    TcpOptions options;
    options.keepalive = keepalive;
    UniqueFd bound = test::listen_tcp();
    Result<Listener> adopted = adopt_listener(bound.get(), options);
    REQUIRE(adopted.ok());
    CHECK(bound.release() == adopted.value().fd.get());
    CHECK(adopted.value().tcp);
    const int listener = adopted.value().fd.get();
    const UniqueFd client = test::connect_to(test::address_of(listener));
    const UniqueFd accepted = test::accept_one(listener);
    CHECK(option(accepted.get(), IPPROTO_TCP, TCP_NODELAY) == 1);
    CHECK(option(accepted.get(), SOL_SOCKET, SO_KEEPALIVE) == (keepalive ? 1 : 0));

    options.keepalive = !keepalive;
    set_inherited_options(listener, options);
    const UniqueFd later = test::connect_to(test::address_of(listener));
    CHECK(option(test::accept_one(listener).get(), SOL_SOCKET, SO_KEEPALIVE) ==
          (keepalive ? 0 : 1));
  }
}

TEST_CASE("accepted sockets inherit by what a vanished peer is noticed; 0 is the kernel's own") {
  const UniqueFd fresh(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  UniqueFd bound = test::listen_tcp();
  // As a unit of systemd may have had it set (KeepAliveTimeSec= and the others).
  for (const int name : {TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT}) {
    const int value = 33;
    REQUIRE(::setsockopt(bound.get(), IPPROTO_TCP, name, &value, sizeof value) == 0);
  }
  Result<Listener> adopted = adopt_listener(bound.release(), {true, 41, 5, 3, 7000});
  REQUIRE(adopted.ok());
  const int listener = adopted.value().fd.get();
  const auto expect = [&](int idle, int interval, int count, int user_timeout) {
    const UniqueFd client = test::connect_to(test::address_of(listener));
    const UniqueFd accepted = test::accept_one(listener);
    CHECK(option(accepted.get(), IPPROTO_TCP, TCP_KEEPIDLE) == idle);
    CHECK(option(accepted.get(), IPPROTO_TCP, TCP_KEEPINTVL) == interval);
    CHECK(option(accepted.get(), IPPROTO_TCP, TCP_KEEPCNT) == count);
    CHECK(option(accepted.get(), IPPROTO_TCP, TCP_USER_TIMEOUT) == user_timeout);
  };
  expect(41, 5, 3, 7000);
  set_inherited_options(listener, {true, 0, 0, 0, 0});
  expect(option(fresh.get(), IPPROTO_TCP, TCP_KEEPIDLE),
         option(fresh.get(), IPPROTO_TCP, TCP_KEEPINTVL),
         option(fresh.get(), IPPROTO_TCP, TCP_KEEPCNT), 0);
}

TEST_CASE("an adopted socket becomes non-blocking and close-on-exec") {
  UniqueFd bound = test::listen_tcp();
  ::fcntl(bound.get(), F_SETFL, 0);
  ::fcntl(bound.get(), F_SETFD, 0);
  Result<Listener> adopted = adopt_listener(bound.release(), {});
  REQUIRE(adopted.ok());
  CHECK((::fcntl(adopted.value().fd.get(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK((::fcntl(adopted.value().fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("an AF_UNIX socket is adopted as what it is") {
  const std::string path = "/tmp/pg-gateway-listener." + std::to_string(::getpid()) + ".sock";
  UniqueFd bound = test::listen_unix(path);
  REQUIRE(bound.valid());
  Result<Listener> adopted = adopt_listener(bound.release(), {});
  REQUIRE(adopted.ok());
  CHECK_FALSE(adopted.value().tcp);
  CHECK(local_port(adopted.value().fd.get()).value() == 0);
  ::unlink(path.c_str());
}

TEST_CASE("what is no listening stream socket is named, and left open") {
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const UniqueFd datagram(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const UniqueFd stream(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const UniqueFd seqpacket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  struct Row {
    int fd;
    const char* says;
    int code;
  };
  const Row rows[] = {{file.get(), "not a socket", ENOTSOCK},
                      {datagram.get(), "not a stream socket", EINVAL},
                      {seqpacket.get(), "not a stream socket", EINVAL},
                      {stream.get(), "not listening", EINVAL},
                      {-1, "not a socket", EBADF}};
  for (const Row& row : rows) {
    CAPTURE(row.says);
    const Result<Listener> adopted = adopt_listener(row.fd, {});
    REQUIRE_FALSE(adopted.ok());
    CHECK(std::string(adopted.error().call) == row.says);
    CHECK(adopted.error().code == row.code);
    if (row.fd >= 0) CHECK(::fcntl(row.fd, F_GETFD) >= 0);
  }
}

TEST_CASE("binding") {
  Result<UniqueFd> bound = bind_listener("127.0.0.1", 0);
  REQUIRE(bound.ok());
  const std::uint16_t port = local_port(bound.value().get()).value();
  CHECK(port > 0);
  CHECK(option(bound.value().get(), SOL_SOCKET, SO_ACCEPTCONN) == 1);
  CHECK(option(bound.value().get(), SOL_SOCKET, SO_REUSEADDR) == 1);
  CHECK(backlog(bound.value().get()) == std::min(4096, system_backlog()));

  const Result<UniqueFd> taken = bind_listener("127.0.0.1", port);
  CHECK_FALSE(taken.ok());
  CHECK(taken.error().code == EADDRINUSE);

  const Result<UniqueFd> nonsense = bind_listener("localhost", port);
  CHECK_FALSE(nonsense.ok());
  CHECK(nonsense.error().code == EINVAL);
}

TEST_CASE("a port that cannot be told is no port") {
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const Result<std::uint16_t> port = local_port(file.get());
  REQUIRE_FALSE(port.ok());
  CHECK(port.error().text() == "getsockname: Socket operation on non-socket (ENOTSOCK)");
}

TEST_CASE("the IPv6 wildcard serves IPv4 too, an IPv6 address does not") {
  if (!test::has_ipv6()) return;
  Result<UniqueFd> any = bind_listener("::", 0);
  REQUIRE(any.ok());
  CHECK(option(any.value().get(), IPPROTO_IPV6, IPV6_V6ONLY) == 0);
  const std::uint16_t port = local_port(any.value().get()).value();
  CHECK(port > 0);
  for (const char* host : {"127.0.0.1", "::1"}) {
    CHECK(test::connect_to(parse_address(host, port).take()).valid());
  }
  Result<UniqueFd> one = bind_listener("::1", 0);
  REQUIRE(one.ok());
  CHECK(option(one.value().get(), IPPROTO_IPV6, IPV6_V6ONLY) == 1);
}

}  // namespace pg_gateway
