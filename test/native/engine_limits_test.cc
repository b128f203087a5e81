// SPDX-License-Identifier: MIT
// Descriptors run out, listening sockets break, threads stand still, the engine stops.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <vector>

#include "gateway.h"
#include "support.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::kMs;
using test::Link;
using test::StreamEnd;

std::int64_t workers_cpu_ns() {
  return test::thread_cpu_ns("pg-gw-worker");
}

UniqueFd unconnected_socket() {
  return UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

}  // namespace

TEST_CASE("out of descriptors: accepting pauses, does not spin, and goes on") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(2);
  gateway.route(backend.get());
  Link before = gateway.open(backend.get());
  REQUIRE(before.backend.valid());
  const UniqueFd client = unconnected_socket();
  {
    const test::FdExhaustion out(0);
    (void)::connect(client.get(), gateway.address().get(), gateway.address().length);
    REQUIRE(eventually([&] { return gateway.pauses() >= 1; }));
    const std::int64_t started = monotonic_ns();
    const std::int64_t cpu_before = workers_cpu_ns();
    const std::uint64_t pauses_before = gateway.pauses();
    REQUIRE(eventually([&] { return gateway.pauses() >= pauses_before + 4; }));
    const std::int64_t took = monotonic_ns() - started;
    CHECK(workers_cpu_ns() - cpu_before < 50 * kMs);
    // Each of the two workers pauses for 100 ms at a time.
    CHECK(gateway.pauses() - pauses_before <=
          2 * static_cast<std::uint64_t>(took / (100 * kMs) + 1));
    // The sessions there are do not suffer.
    CHECK(test::send_all(before.client.get(), "still"));
    CHECK(test::receive(before.backend.get(), 5) == "still");
  }
  const UniqueFd accepted = test::accept_one(backend.get());
  CHECK(accepted.valid());
  CHECK(test::send_all(client.get(), "at last"));
  CHECK(test::receive(accepted.get(), 7) == "at last");
}

TEST_CASE("the last descriptor serves a client: the backend's socket was made before") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  const std::size_t before = test::open_fds().size();
  gateway.route(backend.get());
  REQUIRE(eventually([&] { return test::open_fds().size() == before + 1; }));
  const UniqueFd client = unconnected_socket();
  {
    const test::FdExhaustion out(1);  // the accepted socket takes it
    (void)::connect(client.get(), gateway.address().get(), gateway.address().length);
    CHECK(eventually([&] { return gateway.active() == 1; }));
  }
  const UniqueFd served = test::accept_one(backend.get());
  CHECK(test::send_all(client.get(), "served"));
  CHECK(test::receive(served.get(), 6) == "served");
  CHECK(gateway.rejected(RejectReason::kResources) == 0);
}

TEST_CASE("no pipe to be had: a session waits, idly, and goes on") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  gateway.route(backend.get());
  const Link stalled = gateway.open(backend.get());
  const Link other = gateway.open(backend.get());
  REQUIRE(other.backend.valid());
  CHECK(test::flood(stalled.backend.get(), test::pattern_bytes(65'537), 0, 200) > 0);
  REQUIRE(test::bytes_in_pipes() > 0);  // it keeps the worker's pipe
  CHECK(gateway.pipe_waits() == 0);
  {
    const test::FdExhaustion out(0);
    const std::int64_t cpu_before = workers_cpu_ns();
    const std::int64_t begun = monotonic_ns();
    CHECK(test::send_all(other.client.get(), "patience"));
    CHECK_FALSE(test::is_readable(other.backend.get(), 300));
    CHECK(workers_cpu_ns() - cpu_before < 50 * kMs);
    // It looks for one each 50 ms, and each time is told.
    CHECK(gateway.pipe_waits() >= 2);
    CHECK(gateway.pipe_waits() <=
          static_cast<std::uint64_t>((monotonic_ns() - begun) / (50 * kMs) + 1));
  }
  CHECK(test::receive(other.backend.get(), 8) == "patience");
}

TEST_CASE("a listening socket that somebody shut down does not make the workers spin") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(2);
  gateway.route(backend.get());
  UniqueFd doomed = test::listen_tcp();
  const int number = doomed.get();
  REQUIRE_FALSE(gateway.engine().adopt(doomed.release()));
  REQUIRE(gateway.settle());
  ::shutdown(number, SHUT_RDWR);
  const std::int64_t cpu_before = workers_cpu_ns();
  const std::int64_t until = monotonic_ns() + 300 * kMs;
  CHECK(eventually([&] { return monotonic_ns() >= until; }));
  CHECK(workers_cpu_ns() - cpu_before < 30 * kMs);
  CHECK(gateway.open(backend.get()).backend.valid());  // the other one serves on
}

TEST_CASE("an idle engine uses no CPU time") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(2);
  gateway.route(backend.get());
  const Link idle = gateway.open(backend.get());
  REQUIRE(gateway.settle());
  const std::int64_t cpu_before = workers_cpu_ns();
  const std::int64_t until = monotonic_ns() + 300 * kMs;
  CHECK(eventually([&] { return monotonic_ns() >= until; }));
  CHECK(workers_cpu_ns() - cpu_before < 3 * kMs);
}

TEST_CASE("heartbeats tell a worker that stands still") {
  const UniqueFd nobody = test::listen_tcp();
  const SocketAddress refusing = test::address_of(test::listen_tcp().get());
  Gateway gateway(2);
  REQUIRE(gateway.settle());
  CHECK(gateway.beats() >= 4);

  gateway.route(refusing, 1, 0);
  gateway.hold_workers();
  const UniqueFd client = gateway.connect();
  REQUIRE(gateway.wait_for_held_worker());
  const std::uint64_t before = gateway.beats();
  gateway.engine().ping();
  CHECK(eventually([&] { return gateway.beats() == before + 1; }));
  gateway.engine().ping();  // the one that stands still is not asked twice
  CHECK(eventually([&] { return gateway.beats() == before + 2; }));
  const auto slowest = [&] {
    std::int64_t lag = 0;
    for (const auto& worker : gateway.engine().workers())
      lag = std::max(lag, worker->loop_lag_ns());
    return lag;
  };
  CHECK(eventually([&] { return slowest() > 50 * kMs; }));
  gateway.release_workers();
  CHECK(eventually([&] { return gateway.beats() == before + 3; }));
  REQUIRE(gateway.settle());
  CHECK(slowest() < 5'000 * kMs);
}

TEST_CASE("clients wait until accepting is started") {
  const UniqueFd backend = test::listen_tcp();
  std::atomic<int> ignored{0};
  Engine engine([](void*) {}, &ignored);
  REQUIRE_FALSE(engine.start({1, {}, false, nullptr, {}}));
  Result<std::uint16_t> port = engine.bind("127.0.0.1", 0);
  REQUIRE(port.ok());
  engine.update_route({Route{1, 0, test::address_of(backend.get())}, 0, CutReason::kDemoted});
  const UniqueFd client = test::connect_to(parse_address("127.0.0.1", port.value()).take());
  REQUIRE(client.valid());
  CHECK_FALSE(test::is_readable(backend.get(), 50));
  engine.start_accepting();
  engine.start_accepting();
  CHECK(test::accept_one(backend.get()).valid());
}

TEST_CASE("a bound port is let go, and others stay") {
  std::atomic<int> ignored{0};
  Engine engine([](void*) {}, &ignored);
  REQUIRE_FALSE(engine.start({1, {}, false, nullptr, {}}));
  Result<std::uint16_t> kept = engine.bind("127.0.0.1", 0);
  Result<std::uint16_t> released = engine.bind("127.0.0.1", 0);
  REQUIRE((kept.ok() && released.ok()));
  engine.unbind(released.value());
  CHECK_FALSE(bind_listener("127.0.0.1", kept.value()).ok());
  CHECK(bind_listener("127.0.0.1", released.value()).ok());
}

TEST_CASE("stopping closes every session, whatever its state, and at once") {
  const std::size_t before = test::open_fds().size();
  {
    const UniqueFd backend = test::listen_tcp();
    const test::StalledListener frozen;
    std::vector<Link> idle;
    Link stalled;
    UniqueFd connecting;
    UniqueFd rejected;
    Gateway gateway(3, {60'000 * kMs, {}});
    gateway.route(backend.get());
    for (int i = 0; i < 50; ++i) idle.push_back(gateway.open(backend.get()));
    stalled = gateway.open(backend.get());
    CHECK(test::flood(stalled.backend.get(), test::pattern_bytes(65'537), 0, 100) > 0);
    gateway.route(frozen.get(), 2);
    connecting = gateway.connect();
    REQUIRE(eventually([&] { return gateway.active() == 52; }));
    gateway.no_route();
    rejected = gateway.connect();
    REQUIRE(eventually([&] { return gateway.load() == 53; }));

    const std::int64_t started = monotonic_ns();
    CHECK(gateway.engine().stop(5'000 * kMs));
    CHECK(monotonic_ns() - started < 2'000 * kMs);
    for (const Link& link : idle) {
      CHECK(test::receive_to_end(link.client.get()).end == StreamEnd::kFin);
      CHECK(test::receive_to_end(link.backend.get()).end == StreamEnd::kFin);
    }
    CHECK(test::receive_to_end(stalled.client.get()).end != StreamEnd::kStillOpen);
    CHECK(test::receive_to_end(connecting.get()).end == StreamEnd::kFin);
    CHECK(test::receive_to_end(rejected.get()).end == StreamEnd::kFin);
    CHECK_FALSE(gateway.connect().valid());  // nobody listens any more
    CHECK(gateway.engine().stop(1));         // idempotent
  }
  CHECK(test::open_fds().size() == before);
}

TEST_CASE("stopping while a worker stands still: said so, and done when it moves again") {
  const std::size_t before = test::open_fds().size();
  {
    const SocketAddress refusing = test::address_of(test::listen_tcp().get());
    std::vector<UniqueFd> clients;
    Gateway gateway(2);
    gateway.route(refusing, 1, 0);
    gateway.hold_workers();
    clients.push_back(gateway.connect());
    REQUIRE(gateway.wait_for_held_worker());
    gateway.no_route();
    // Some of these are given to the worker that stands still: they stay in its mailbox.
    for (int i = 0; i < 10; ++i) clients.push_back(gateway.connect());
    REQUIRE(eventually([&] { return gateway.accepted() == 11; }));
    CHECK_FALSE(gateway.engine().stop(100 * kMs));
    gateway.release_workers();
    CHECK(gateway.engine().stop(5'000 * kMs));
    for (const UniqueFd& client : clients) {
      CHECK(test::receive_to_end(client.get()).end != StreamEnd::kStillOpen);
    }
  }
  CHECK(test::open_fds().size() == before);
}

TEST_CASE("a start without descriptors fails whole") {
  const std::size_t before = test::open_fds().size();
  {
    Engine engine([](void*) {}, nullptr);
    const test::FdExhaustion out(7);  // one worker takes four
    const SysError error = engine.start({3, {}, true, nullptr, {}});
    CHECK(error.code == EMFILE);
    CHECK(engine.workers().empty());
  }
  CHECK(test::open_fds().size() == before);
}

}  // namespace pg_gateway
