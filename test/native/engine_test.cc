// SPDX-License-Identifier: MIT
// Established sessions: what goes through, both ways, and half-close. How they end otherwise is
// in engine_end_test.cc.
#include "engine.h"

#include <doctest/doctest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "gateway.h"
#include "support.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::Link;
using test::Received;
using test::StreamEnd;

// For connections that shall neither succeed nor fail.
constexpr Settings kPatient{60'000'000'000, {}};

int socket_option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  ::getsockopt(fd, level, name, &value, &length);
  return value;
}

// The gateway's descriptor of the connection whose other end is `peer` (it is in this process).
int other_end_of(int peer) {
  const SocketAddress wanted = test::address_of(peer);
  for (const int fd : test::open_fds()) {
    SocketAddress remote;
    remote.length = sizeof remote.storage;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&remote.storage), &remote.length) == 0 &&
        remote.length == wanted.length &&
        std::memcmp(&remote.storage, &wanted.storage, wanted.length) == 0) {
      return fd;
    }
  }
  return -1;
}

std::string socket_path() {
  return "/tmp/pg-gateway-test." + std::to_string(::getpid()) + ".sock";
}

}  // namespace

TEST_CASE("bytes go both ways and are counted") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  REQUIRE(gateway.started());
  gateway.route(backend.get(), 1, 3);
  Link link = gateway.open(backend.get());
  REQUIRE(link.backend.valid());
  CHECK(test::send_all(link.client.get(), "select 1"));
  CHECK(test::receive(link.backend.get(), 8) == "select 1");
  CHECK(test::send_all(link.backend.get(), "one row"));
  CHECK(test::receive(link.client.get(), 7) == "one row");
  // The bytes are there a moment before they are counted.
  CHECK(eventually([&] { return gateway.up() == 8 && gateway.down() == 7; }));
  CHECK(gateway.accepted() == 1);
  CHECK(gateway.active() == 1);
  CHECK(gateway.connects(3) == 1);
  CHECK(gateway.sessions(3) == 1);

  link.client.reset();
  CHECK(test::receive_to_end(link.backend.get()).end == StreamEnd::kFin);
  link.backend.reset();
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.ended(EndReason::kClientClosed) == 1);
  CHECK(gateway.sessions(3) == 0);
  CHECK(gateway.failures() == 0);
}

TEST_CASE("what a client sent before its backend was connected is not lost") {
  const test::StalledListener stalled;
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, kPatient);
  gateway.route(stalled.get());
  const UniqueFd client = gateway.connect();
  CHECK(test::send_all(client.get(), "early bird"));
  bool hung_up = false;
  SUBCASE("and it waits for the answer") {}
  SUBCASE("and it has said all") {
    test::send_fin(client.get());
    hung_up = true;
  }
  REQUIRE(eventually([&] { return gateway.active() == 1; }));
  REQUIRE(gateway.settle());
  gateway.route(backend.get(), 2, 0, 2);
  const UniqueFd accepted = test::accept_one(backend.get());
  CHECK(test::receive(accepted.get(), 10) == "early bird");
  if (hung_up) CHECK(test::receive_to_end(accepted.get()).end == StreamEnd::kFin);
  CHECK(gateway.active() == 1);
}

TEST_CASE("both sockets of a session have TCP_NODELAY, and SO_KEEPALIVE as configured") {
  const UniqueFd backend = test::listen_tcp();
  Settings settings;
  settings.tcp.keepalive = false;
  Gateway gateway(1, settings);
  gateway.route(backend.get());
  for (const bool keepalive : {false, true, false}) {
    CAPTURE(keepalive);
    settings.tcp.keepalive = keepalive;
    gateway.engine().configure(settings);
    REQUIRE(gateway.settle());
    const Link link = gateway.open(backend.get());
    REQUIRE(eventually([&] { return gateway.connects(0) > 0; }));
    for (const int end : {link.client.get(), link.backend.get()}) {
      const int fd = other_end_of(end);
      REQUIRE(fd >= 0);
      CHECK(socket_option(fd, IPPROTO_TCP, TCP_NODELAY) == 1);
      CHECK(socket_option(fd, SOL_SOCKET, SO_KEEPALIVE) == (keepalive ? 1 : 0));
    }
  }
}

TEST_CASE("both sockets of a session have the options by which a vanished peer is noticed") {
  const UniqueFd backend = test::listen_tcp();
  Settings settings;
  settings.tcp = {true, 30, 5, 4, 9000};
  Gateway gateway(1, settings);
  gateway.route(backend.get());
  REQUIRE(gateway.settle());
  const auto expect = [](const Link& link, const TcpOptions& options) {
    for (const int end : {link.client.get(), link.backend.get()}) {
      const int fd = other_end_of(end);
      REQUIRE(fd >= 0);
      CHECK(socket_option(fd, IPPROTO_TCP, TCP_KEEPIDLE) == options.keepalives_idle_s);
      CHECK(socket_option(fd, IPPROTO_TCP, TCP_KEEPINTVL) == options.keepalives_interval_s);
      CHECK(socket_option(fd, IPPROTO_TCP, TCP_KEEPCNT) == options.keepalives_count);
      CHECK(socket_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT) == options.user_timeout_ms);
    }
  };
  const TcpOptions old = settings.tcp;
  settings.tcp = {true, 31, 6, 5, 8000};
  {
    const Link before = gateway.open(backend.get());
    expect(before, old);
    // Told while it runs: for those that come later.
    gateway.engine().configure(settings);
    REQUIRE(gateway.settle());
    expect(before, old);
  }
  REQUIRE(eventually([&] { return gateway.active() == 0; }));
  REQUIRE(gateway.settle());  // its sockets are closed
  expect(gateway.open(backend.get()), settings.tcp);
}

TEST_CASE("clients of an AF_UNIX socket") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  gateway.route(backend.get());
  const std::string path = socket_path();
  UniqueFd listener = test::listen_unix(path);
  REQUIRE(listener.valid());
  REQUIRE_FALSE(gateway.engine().adopt(listener.release()));
  Link link;
  link.client = test::connect_unix(path);
  REQUIRE(link.client.valid());
  link.backend = test::accept_one(backend.get());
  const std::string bytes = test::pattern_bytes(300'000);
  CHECK(test::send_all(link.client.get(), std::string_view(bytes).substr(0, 50'000)));
  CHECK(test::receive(link.backend.get(), 50'000) == bytes.substr(0, 50'000));
  CHECK(test::send_all(link.backend.get(), std::string_view(bytes).substr(0, 100'000)));
  CHECK(test::receive(link.client.get(), 100'000) == bytes.substr(0, 100'000));

  SUBCASE("half-close") {
    test::send_fin(link.client.get());
    CHECK(test::receive_to_end(link.backend.get()).end == StreamEnd::kFin);
    CHECK(test::send_all(link.backend.get(), "still here"));
    CHECK(test::receive(link.client.get(), 10) == "still here");
    link.backend.reset();
    CHECK(test::receive_to_end(link.client.get()).end == StreamEnd::kFin);
  }
  SUBCASE("last words, then gone for both directions") {
    CHECK(test::send_all(link.client.get(), "terminate"));
    link.client.reset();
    const Received received = test::receive_to_end(link.backend.get());
    CHECK(received.bytes == "terminate");
    CHECK(received.end == StreamEnd::kFin);
    // The backend says nothing; that the client is gone ends the session all the same.
  }
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.ended(EndReason::kClientClosed) == 1);
  ::unlink(path.c_str());
}

TEST_CASE("an AF_UNIX client that speaks and leaves before its backend is connected is heard") {
  // As some clients do with a CancelRequest.
  const UniqueFd backend = test::listen_tcp();
  const test::StalledListener stalled;
  Gateway gateway(1, kPatient);
  gateway.route(stalled.get());
  const std::string path = socket_path();
  UniqueFd listener = test::listen_unix(path);
  REQUIRE_FALSE(gateway.engine().adopt(listener.release()));
  UniqueFd client = test::connect_unix(path);
  REQUIRE(eventually([&] { return gateway.active() == 1; }));
  CHECK(test::send_all(client.get(), "cancel it"));
  client.reset();
  REQUIRE(gateway.settle());
  gateway.route(backend.get(), 2, 0, 2);  // it moves there, still connecting
  const UniqueFd accepted = test::accept_one(backend.get(), 2'000);
  REQUIRE(accepted.valid());
  const Received received = test::receive_to_end(accepted.get());
  CHECK(received.bytes == "cancel it");
  CHECK(received.end == StreamEnd::kFin);
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  ::unlink(path.c_str());
}

TEST_CASE("IPv6, and IPv4 clients of a dual-stack socket") {
  if (!test::has_ipv6()) return;
  const UniqueFd backend = test::listen_tcp("::1");
  for (const char* host : {"::1", "::"}) {
    CAPTURE(host);
    Gateway gateway(1, {}, host);
    gateway.route(backend.get());
    Link link = gateway.open(backend.get());
    REQUIRE(link.backend.valid());
    CHECK(test::send_all(link.client.get(), "six"));
    CHECK(test::receive(link.backend.get(), 3) == "six");
  }
}

TEST_CASE("half-close: the other direction goes on") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  gateway.route(backend.get());
  Link link = gateway.open(backend.get());
  SUBCASE("the client has said all") {
    CHECK(test::send_all(link.client.get(), "that was it"));
    test::send_fin(link.client.get());
    const Received received = test::receive_to_end(link.backend.get());
    CHECK(received.bytes == "that was it");
    CHECK(received.end == StreamEnd::kFin);
    CHECK(gateway.active() == 1);
    const std::string answer = test::pattern_bytes(200'000);
    CHECK(test::send_all(link.backend.get(), answer));
    test::send_fin(link.backend.get());
    const Received answered = test::receive_to_end(link.client.get());
    CHECK(answered.bytes == answer);
    CHECK(answered.end == StreamEnd::kFin);
    CHECK(eventually([&] { return gateway.all_accounted_for(); }));
    CHECK(gateway.ended(EndReason::kClientClosed) == 1);
  }
  SUBCASE("the backend has said all") {
    CHECK(test::send_all(link.backend.get(), "farewell"));
    test::send_fin(link.backend.get());
    const Received received = test::receive_to_end(link.client.get());
    CHECK(received.bytes == "farewell");
    CHECK(received.end == StreamEnd::kFin);
    CHECK(gateway.active() == 1);
    CHECK(test::send_all(link.client.get(), "one more thing"));
    CHECK(test::receive(link.backend.get(), 14) == "one more thing");
    link.client.reset();
    CHECK(test::receive_to_end(link.backend.get()).end == StreamEnd::kFin);
    CHECK(eventually([&] { return gateway.all_accounted_for(); }));
    CHECK(gateway.ended(EndReason::kBackendClosed) == 1);
  }
  CHECK(gateway.failures() == 0);
}

TEST_CASE("an AF_UNIX client that closes before a slow backend has read all it said") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  gateway.route(backend.get());
  const std::string path = socket_path();
  UniqueFd listener = test::listen_unix(path);
  REQUIRE_FALSE(gateway.engine().adopt(listener.release()));
  UniqueFd client = test::connect_unix(path);
  const UniqueFd accepted = test::accept_one(backend.get());
  REQUIRE(accepted.valid());
  const std::string pattern = test::pattern_bytes(65'537);
  const std::size_t sent = test::flood(client.get(), pattern, 0, 100);
  CHECK(test::bytes_in_pipes() > 0);
  client.reset();
  REQUIRE(gateway.settle());
  const Received received = test::receive_to_end(accepted.get());
  CHECK(received.end == StreamEnd::kFin);
  CHECK(received.bytes == test::flooded(pattern, sent));
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.ended(EndReason::kClientClosed) == 1);
  ::unlink(path.c_str());
}

TEST_CASE("an idle session holds two descriptors, and none is left when all is over") {
  const std::size_t at_first = test::open_fds().size();
  {
    const UniqueFd backend = test::listen_tcp();
    Gateway gateway(2);
    const std::size_t before = test::open_fds().size() + 2;  // a spare socket of each worker
    gateway.route(backend.get());
    REQUIRE(eventually([&] { return test::open_fds().size() == before; }));
    std::vector<Link> links;
    for (int i = 0; i < 100; ++i) {
      links.push_back(gateway.open(backend.get()));
      CHECK(test::send_all(links.back().client.get(), "ping"));
      CHECK(test::receive(links.back().backend.get(), 4) == "ping");
      CHECK(test::send_all(links.back().backend.get(), "pong"));
      CHECK(test::receive(links.back().client.get(), 4) == "pong");
    }
    // Two of this test and two of the gateway each.
    CHECK(test::open_fds().size() == before + 400);
    CHECK(test::bytes_in_pipes() == 0);
    links.clear();
    CHECK(eventually([&] { return gateway.load() == 0; }));
    CHECK(test::open_fds().size() == before);
    CHECK(gateway.all_accounted_for());
  }
  CHECK(test::open_fds().size() == at_first);
}

}  // namespace pg_gateway
