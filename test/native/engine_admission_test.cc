// SPDX-License-Identifier: MIT
// How many clients there may be, together and of each address; what of the descriptors is not
// theirs; and who says nothing.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gateway.h"
#include "shelf.h"
#include "support.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::has;
using test::kMs;
using test::Link;
using test::Received;
using test::StreamEnd;
using test::told;

UniqueFd connect_from(const char* host, const SocketAddress& to) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const SocketAddress from = parse_address(host, 0).take();
  if (::bind(fd.get(), from.get(), from.length) != 0 ||
      ::connect(fd.get(), to.get(), to.length) != 0) {
    fd.reset();
  }
  return fd;
}

}  // namespace

TEST_CASE("at the limit of clients the next is told 53300, and who leaves makes room") {
  const UniqueFd backend = test::listen_tcp();
  Settings settings;
  settings.limits.clients = 3;
  unsigned workers = 1;
  SUBCASE("one worker") {}
  SUBCASE("four workers") {
    workers = 4;
  }
  Gateway gateway(workers, settings);
  gateway.route(backend.get());
  std::vector<Link> links;
  for (int i = 0; i < 3; ++i) links.push_back(gateway.open(backend.get()));
  REQUIRE(links.back().backend.valid());
  for (int i = 0; i < 3; ++i) {
    const std::string answer = told(gateway.connect());
    CHECK(has(answer, "C53300"));
    CHECK(has(answer, "Mthe gateway has too many clients already"));
    CHECK(has(answer, "DIt serves 3 at once (MAX_CONNECTIONS)."));
  }
  CHECK_FALSE(test::is_readable(backend.get(), 50));
  CHECK(eventually([&] { return gateway.rejected(RejectReason::kTooManyClients) == 3; }));
  CHECK(test::send_all(links[0].client.get(), "still here"));
  CHECK(test::receive(links[0].backend.get(), 10) == "still here");

  links.pop_back();
  REQUIRE(eventually([&] { return gateway.engine().clients() == 2; }));
  links.push_back(gateway.open(backend.get()));
  CHECK(links.back().backend.valid());
  links.clear();
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
  CHECK(gateway.engine().clients() == 0);
}

TEST_CASE("one address has no more than its share, and keeps nobody else out") {
  const UniqueFd backend = test::listen_tcp();
  Settings settings;
  settings.limits.of_one_host = 2;
  Gateway gateway(2, settings);
  gateway.route(backend.get());
  std::vector<UniqueFd> clients;
  std::vector<UniqueFd> served;
  for (const char* host : {"127.0.0.2", "127.0.0.2", "127.0.0.3"}) {
    clients.push_back(connect_from(host, gateway.address()));
    served.push_back(test::accept_one(backend.get()));
    REQUIRE(served.back().valid());
  }
  const std::string answer = told(connect_from("127.0.0.2", gateway.address()));
  CHECK(has(answer, "C53300"));
  CHECK(has(answer, "Mtoo many connections from your address"));
  CHECK(has(answer, "DThe gateway takes 2 from each (MAX_CONNECTIONS_PER_CLIENT)."));
  CHECK(eventually([&] { return gateway.rejected(RejectReason::kTooManyOfOneHost) == 1; }));

  // Another limit counts for who comes from now on, and counts those that are here.
  settings.limits.of_one_host = 3;
  gateway.engine().configure(settings);
  REQUIRE(gateway.settle());
  clients.push_back(connect_from("127.0.0.2", gateway.address()));
  served.push_back(test::accept_one(backend.get()));
  CHECK(served.back().valid());
  settings.limits.of_one_host = 1;
  gateway.engine().configure(settings);
  REQUIRE(gateway.settle());
  CHECK(has(told(connect_from("127.0.0.3", gateway.address())), "C53300"));
  CHECK(gateway.active() == 4);
}

TEST_CASE("no more are accepted in a second than there may be: the others wait, and nobody fails") {
  const UniqueFd backend = test::listen_tcp();
  Settings settings;
  settings.limits.per_second = 20;
  Gateway gateway(2, settings);
  gateway.route(backend.get());
  const std::int64_t begun_ns = monotonic_ns();
  std::vector<UniqueFd> clients;
  std::vector<UniqueFd> served;
  for (int i = 0; i < 10; ++i) clients.push_back(gateway.connect());
  while (served.size() < clients.size()) {
    served.push_back(test::accept_one(backend.get()));
    REQUIRE(served.back().valid());
  }
  // 50 ms apart but for the burst, in which there are two; and both workers may have seen the same
  // place before one of them took it.
  CHECK(monotonic_ns() - begun_ns >= 6 * 50 * kMs);
  CHECK(gateway.rate_waits() >= 6);
  CHECK(gateway.pauses() == 0);
  // While nobody comes it does not wake for that.
  REQUIRE(gateway.settle());
  const std::uint64_t waits = gateway.rate_waits();
  clients.push_back(gateway.connect());
  served.push_back(test::accept_one(backend.get()));
  CHECK(served.back().valid());
  CHECK(gateway.rate_waits() <= waits + 2);

  // Who is turned away has been accepted too: it is no way around the pace.
  settings.limits = {UINT32_MAX, 1, 20};
  gateway.engine().configure(settings);
  REQUIRE(gateway.settle());
  const std::int64_t turned_away_ns = monotonic_ns();
  std::vector<UniqueFd> others;
  for (int i = 0; i < 8; ++i) others.push_back(gateway.connect());
  for (const UniqueFd& other : others) CHECK(has(told(other), "from your address"));
  CHECK(monotonic_ns() - turned_away_ns >= 4 * 50 * kMs);

  // Without the limit they come as they like.
  const std::uint64_t before = gateway.rate_waits();
  settings.limits = {};
  gateway.engine().configure(settings);
  REQUIRE(gateway.settle());
  for (int i = 0; i < 20; ++i) clients.push_back(gateway.connect());
  for (int i = 0; i < 20; ++i) CHECK(test::accept_one(backend.get()).valid());
  CHECK(gateway.rate_waits() <= before + 2);
}

TEST_CASE("who has hung up in the queue keeps nobody waiting, and costs the server nothing") {
  const UniqueFd backend = test::listen_tcp();
  for (const std::int64_t hold_ns : {std::int64_t{0}, 60'000 * kMs}) {
    Settings settings;
    settings.hold_timeout_ns = hold_ns;
    settings.limits.per_second = 2;
    Gateway gateway(1, settings);
    gateway.route(backend.get());
    // A place is half a second here, and the burst less than one.
    std::vector<UniqueFd> clients;
    clients.push_back(gateway.connect_and_speak());
    const UniqueFd first = test::accept_one(backend.get());
    REQUIRE(first.valid());
    constexpr std::uint64_t kDead = 20;
    for (std::uint64_t i = 0; i < kDead; ++i) {
      UniqueFd dead = connect_from("127.0.0.2", gateway.address());
      REQUIRE(dead.valid());
      if (i % 2 == 0) test::reset_connection(dead);
    }
    const std::int64_t begun_ns = monotonic_ns();
    clients.push_back(gateway.connect_and_speak());
    const UniqueFd second = test::accept_one(backend.get());
    REQUIRE(second.valid());
    // One place for sixteen of the dead at most, one for the living; one by one they would take
    // ten seconds.
    CHECK(monotonic_ns() - begun_ns < 5000 * kMs);
    CHECK(gateway.rejected(RejectReason::kGaveUp) == kDead);
    CHECK(gateway.accepted() == kDead + 2);
    CHECK(gateway.engine().clients() == 2);
    CHECK_FALSE(test::accept_one(backend.get(), 0).valid());
  }
}

TEST_CASE("clients that wait count, and those of an earlier process do") {
  test::Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  Settings settings;
  settings.hold_timeout_ns = 60'000 * kMs;
  settings.limits = {3, 2};
  std::vector<UniqueFd> clients;
  {
    Gateway gateway(shelf, 1, settings);
    gateway.engine().write_note("note");
    gateway.no_route();
    for (const char* host : {"127.0.0.2", "127.0.0.2", "127.0.0.3"}) {
      clients.push_back(connect_from(host, gateway.address()));
    }
    REQUIRE(eventually([&] { return gateway.held() == 3; }));
    CHECK(has(told(connect_from("127.0.0.4", gateway.address())), "too many clients already"));
    gateway.leave();
  }
  Gateway gateway(shelf, 1, settings);
  CHECK(gateway.engine().recovery().recovered == 3);
  CHECK(gateway.engine().clients() == 3);
  CHECK(has(told(connect_from("127.0.0.4", gateway.address())), "too many clients already"));
  gateway.no_route();
  clients.pop_back();
  REQUIRE(eventually([&] { return gateway.engine().clients() == 2; }));
  CHECK(has(told(connect_from("127.0.0.2", gateway.address())), "from your address"));
  clients.push_back(connect_from("127.0.0.4", gateway.address()));
  CHECK(eventually([&] { return gateway.held() == 3; }));
}

TEST_CASE("those who are turned away in silence are not told without end") {
  Settings settings;
  settings.limits.clients = 1;
  settings.startup_timeout_ns = 300 * kMs;
  Gateway gateway(1, settings);
  gateway.no_route();
  const UniqueFd backend = test::listen_tcp();
  gateway.route(backend.get());
  const Link first = gateway.open(backend.get());
  const UniqueFd silent = gateway.connect();
  const std::int64_t began = monotonic_ns();
  CHECK(test::receive_to_end(silent.get()).bytes.empty());
  CHECK(monotonic_ns() - began >= 250 * kMs);
  CHECK(eventually([&] { return gateway.rejected(RejectReason::kStartup) == 1; }));
}

TEST_CASE("a client that waits must say what it wants, or loses its place") {
  struct Row {
    const char* what;
    std::string says;
    bool stays;
  };
  const Row rows[] = {
      {"nothing", "", false},
      {"a part of a startup message", test::kStartupMessage.substr(0, 20), false},
      {"no message of the protocol", "GET / HTTP/1.1\r\n\r\n", false},
      {"a startup message", test::kStartupMessage, true},
      {"more than a startup message", test::kStartupMessage + "more", true},
      {"SSLRequest", std::string("\0\0\0\x08\x04\xd2\x16\x2f", 8), true},
      {"CancelRequest", std::string("\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\1\0\0\0\2", 16), true},
  };
  Settings settings;
  settings.hold_timeout_ns = 60'000 * kMs;
  settings.startup_timeout_ns = 200 * kMs;
  SUBCASE("for as long as HOLD_TIMEOUT_MS says") {}
  SUBCASE("before anything was decided, without a timeout") {
    settings.hold_timeout_ns = 0;
  }
  Gateway gateway(1, settings);
  if (settings.hold_timeout_ns != 0) gateway.no_route();
  std::vector<UniqueFd> clients;
  for (const Row& row : rows) {
    clients.push_back(gateway.connect());
    CHECK(test::send_all(clients.back().get(), row.says));
  }
  REQUIRE(eventually([&] { return gateway.rejected(RejectReason::kStartup) == 3; }));
  CHECK(gateway.held() == 4);
  for (std::size_t i = 0; i < clients.size(); ++i) {
    CAPTURE(rows[i].what);
    CHECK(test::is_readable(clients[i].get(), 0) == !rows[i].stays);
  }
  // They wait on for as long as it takes, and nobody spins.
  const std::int64_t cpu_before = test::thread_cpu_ns("pg-gw-worker");
  CHECK_FALSE(test::is_readable(clients[3].get(), 400));
  CHECK(test::thread_cpu_ns("pg-gw-worker") - cpu_before < 20 * kMs);
  const UniqueFd backend = test::listen_tcp();
  gateway.route(backend.get());
  CHECK(test::accept_one(backend.get()).valid());
}

TEST_CASE("who was silent while it waited does not get the whole time again to be told") {
  Settings settings;
  settings.hold_timeout_ns = 400 * kMs;
  settings.startup_timeout_ns = 600 * kMs;
  Gateway gateway(1, settings);
  gateway.no_route();
  const std::int64_t began = monotonic_ns();
  const UniqueFd silent = gateway.connect();
  CHECK(test::receive_to_end(silent.get()).end != StreamEnd::kStillOpen);
  // 400 ms of waiting, and what is left, but that is at least a second or the whole.
  CHECK(monotonic_ns() - began < 1'600 * kMs);
  CHECK(eventually([&] { return gateway.all_accounted_for(); }));
}

TEST_CASE("what is reserved stays free: clients wait in the queue, and pipes are not made") {
  const UniqueFd backend = test::listen_tcp();
  const int lowest = test::next_number();
  Settings settings;
  // Room for the worker, a spare socket and two sessions.
  settings.bounds.clients = lowest + 30;
  settings.bounds.all = lowest + 40;
  Gateway gateway(1, settings);
  gateway.route(backend.get());
  std::vector<UniqueFd> clients;
  std::vector<UniqueFd> served;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(gateway.connect());
    REQUIRE(clients.back().valid());  // the kernel takes it
    if (UniqueFd one = test::accept_one(backend.get(), 300); one.valid()) {
      served.push_back(std::move(one));
    } else {
      break;
    }
  }
  REQUIRE(served.size() >= 2);
  REQUIRE(served.size() < 20);
  REQUIRE(eventually([&] { return gateway.pauses() >= 3; }));
  CHECK(test::next_number() < settings.bounds.all);
  CHECK(gateway.rejected(RejectReason::kResources) == 0);
  // It comes in as soon as there is room.
  clients.erase(clients.begin());
  served.erase(served.begin());
  const UniqueFd late = test::accept_one(backend.get());
  REQUIRE(late.valid());
  CHECK(test::send_all(clients.back().get(), "at last"));
  CHECK(test::receive(late.get(), 7) == "at last");
}

TEST_CASE("a pipe past the bound is none") {
  PipePool pool;
  pool.set_bound(test::next_number() + 2);
  const std::unique_ptr<Pipe> first = pool.take();
  REQUIRE(first != nullptr);
  const std::size_t before = test::open_fds().size();
  CHECK(pool.take() == nullptr);
  CHECK(errno == EMFILE);
  CHECK(test::open_fds().size() == before);
}

}  // namespace pg_gateway
