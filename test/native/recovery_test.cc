// SPDX-License-Identifier: MIT
// Sessions that go on in the next engine, by way of a shelf that keeps their descriptors.
#include <doctest/doctest.h>
#include <sys/ioctl.h>

#include <string>
#include <utility>

#include "gateway.h"
#include "shelf.h"

using namespace pg_gateway;
using test::Gateway;
using test::Shelf;

namespace {

constexpr std::size_t kSome = 100'000;

void check_both_ways(const test::Link& link, std::uint32_t seed) {
  const std::string up = test::pattern_bytes(kSome, seed);
  const std::string down = test::pattern_bytes(kSome, seed + 1);
  REQUIRE(test::send_all(link.client.get(), up));
  REQUIRE(test::send_all(link.backend.get(), down));
  CHECK(test::receive(link.backend.get(), kSome) == up);
  CHECK(test::receive(link.client.get(), kSome) == down);
}

}  // namespace

TEST_CASE("a session goes on in the next engine, both ways, as often as it takes") {
  Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf);
  gateway->route(backend.get());
  gateway->engine().write_note("note");
  test::Link link = gateway->open(backend.get());
  for (std::uint32_t round = 0; round < 5; ++round) {
    check_both_ways(link, round);
    gateway->leave();
    gateway = std::make_unique<Gateway>(shelf);
    const RecoveryReport& report = gateway->engine().recovery();
    CHECK(report.recovered == 1);
    CHECK(report.not_whole == 0);
    CHECK(report.missing == 0);
    CHECK(report.note == "note");
    check_both_ways(link, round + 100);
    CHECK(gateway->active() == 1);
  }
  gateway->no_route(2);  // the epoch it was opened in has come along
  CHECK(test::receive_to_end(link.client.get()).end == test::StreamEnd::kFin);
  CHECK(test::eventually([&] { return gateway->engine().kept().sessions == 0; }));
}

TEST_CASE("bytes that were stuck in a pipe come out of the next engine, in both directions") {
  Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf);
  gateway->route(backend.get());
  gateway->engine().write_note("note");
  test::Link link = gateway->open(backend.get());
  const std::string pattern = test::pattern_bytes(1 << 20, 7);
  const std::size_t up = test::flood(link.client.get(), pattern, 0, 200);
  const std::size_t down = test::flood(link.backend.get(), pattern, 0, 200);
  gateway->leave();
  gateway = std::make_unique<Gateway>(shelf);
  CHECK(gateway->engine().recovery().recovered == 1);
  CHECK(gateway->engine().recovery().bytes_in_pipes > 0);
  CHECK(test::receive(link.backend.get(), up) == test::flooded(pattern, up));
  CHECK(test::receive(link.client.get(), down) == test::flooded(pattern, down));
  check_both_ways(link, 3);
}

TEST_CASE("half-closed before, half-closed after") {
  Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf);
  gateway->route(backend.get());
  gateway->engine().write_note("note");
  test::Link link = gateway->open(backend.get());
  REQUIRE(test::send_all(link.client.get(), "last words"));
  test::send_fin(link.client.get());
  const test::Received heard = test::receive_to_end(link.backend.get());
  CHECK(heard.bytes == "last words");
  CHECK(heard.end == test::StreamEnd::kFin);
  gateway->leave();
  gateway = std::make_unique<Gateway>(shelf);
  CHECK(gateway->engine().recovery().recovered == 1);
  REQUIRE(test::send_all(link.backend.get(), "answer"));
  link.backend.reset();
  const test::Received answer = test::receive_to_end(link.client.get());
  CHECK(answer.bytes == "answer");
  CHECK(answer.end == test::StreamEnd::kFin);
  CHECK(test::eventually([&] { return gateway->engine().kept().sessions == 0; }));
}

TEST_CASE("what has ended leaves the parking lot") {
  Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(shelf);
  gateway.route(backend.get());
  const test::Link lasting = gateway.open(backend.get());
  std::size_t most = 0;
  for (int i = 0; i < 2000; ++i) {
    const test::Link link = gateway.open(backend.get());
    most = std::max(most, gateway.engine().kept().messages);
  }
  CHECK(most < 100);
  CHECK(test::eventually([&] { return gateway.engine().kept().sessions == 1; }));
  CHECK(gateway.engine().kept().segments == 1);
  check_both_ways(lasting, 1);
}

TEST_CASE("more sessions than one queue holds") {
  Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf);
  gateway->route(backend.get());
  gateway->engine().write_note("note");
  constexpr std::uint32_t kMany = 1500;
  std::vector<test::Link> links;
  for (std::uint32_t i = 0; i < kMany; ++i) links.push_back(gateway->open(backend.get()));
  CHECK(gateway->engine().kept().failures == 0);
  gateway->leave();
  gateway = std::make_unique<Gateway>(shelf);
  CHECK(gateway->engine().recovery().recovered == kMany);
  for (std::uint32_t i = 0; i < kMany; ++i) {
    const std::string name = "session " + std::to_string(i);
    REQUIRE(test::send_all(links[i].client.get(), name));
    CHECK(test::receive(links[i].backend.get(), name.size()) == name);
  }
  links.clear();
  CHECK(test::eventually([&] { return gateway->engine().kept().sessions == 0; }));
  CHECK(gateway->engine().kept().messages < 50);
  CHECK(gateway->engine().kept().segments == 1);
}

TEST_CASE("a client without a server waits for the first decision") {
  Shelf shelf;
  const test::StalledListener full;
  auto gateway = std::make_unique<Gateway>(shelf);
  gateway->route(full.get());
  gateway->engine().write_note("note");
  const UniqueFd client = gateway->connect();
  REQUIRE(test::eventually([&] { return gateway->active() == 1; }));
  REQUIRE(test::send_all(client.get(), "first bytes"));
  gateway->leave();
  gateway = std::make_unique<Gateway>(shelf);
  CHECK(gateway->engine().recovery().recovered == 1);
  const UniqueFd backend = test::listen_tcp();
  gateway->route(backend.get(), 2, 0, 2);
  const UniqueFd server = test::accept_one(backend.get());
  CHECK(test::receive(server.get(), 11) == "first bytes");
}

TEST_CASE("without a note from the control plane no connected session goes on") {
  Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf);
  gateway->route(backend.get());
  test::Link link = gateway->open(backend.get());
  gateway->leave();
  gateway = std::make_unique<Gateway>(shelf);
  CHECK(gateway->engine().recovery().recovered == 0);
  CHECK(gateway->engine().recovery().not_whole == 1);
  CHECK(test::receive_to_end(link.client.get()).end == test::StreamEnd::kFin);
  CHECK(test::receive_to_end(link.backend.get()).end == test::StreamEnd::kFin);
}

TEST_CASE("a byte taken from a parked session is noticed, and the session ends") {
  Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf);
  gateway->route(backend.get());
  gateway->engine().write_note("note");
  test::Link sound = gateway->open(backend.get());
  test::Link robbed = gateway->open(backend.get());
  gateway->leave();
  REQUIRE(test::send_all(robbed.client.get(), "stolen"));
  // Read by somebody else while no process has them.
  StoredFds copies = shelf.copies();
  auto thief = std::make_unique<SessionStore>(Shelf().store());
  std::vector<Survivor> survivors;
  RecoveryReport report;
  REQUIRE_FALSE(thief->open(std::move(copies), survivors, report));
  thief->freeze();
  char byte = 0;
  for (Survivor& survivor : survivors) ::recv(survivor.client.get(), &byte, 1, MSG_DONTWAIT);
  survivors.clear();
  gateway = std::make_unique<Gateway>(shelf);
  CHECK(gateway->engine().recovery().recovered == 1);
  CHECK(gateway->engine().recovery().not_whole == 1);
  CHECK(test::receive_to_end(robbed.backend.get()).bytes.empty());
  check_both_ways(sound, 1);
}

TEST_CASE("a ledger that is not there, not ours or of another version ends the sessions") {
  Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf);
  gateway->route(backend.get());
  gateway->engine().write_note("note");
  test::Link link = gateway->open(backend.get());
  gateway->leave();
  SUBCASE("not there") {
    shelf.lose("ledger");
  }
  SUBCASE("another version") {
    const std::uint32_t version = Ledger::kVersion + 1;
    REQUIRE(::pwrite(shelf.kept().at("ledger").get(), &version, sizeof version, 8) == 4);
  }
  SUBCASE("not ours") {
    REQUIRE(::pwrite(shelf.kept().at("ledger").get(), "garbage", 7, 0) == 7);
  }
  gateway = std::make_unique<Gateway>(shelf);
  CHECK(gateway->engine().recovery().recovered == 0);
  CHECK(gateway->engine().recovery().problem);
  CHECK(test::receive_to_end(link.client.get()).end == test::StreamEnd::kFin);
  gateway->route(backend.get());
  test::Link next = gateway->open(backend.get());
  check_both_ways(next, 1);
  CHECK(gateway->engine().kept().sessions == 1);
}

TEST_CASE("the last words of a side that is closed for good come out of the next engine") {
  Shelf shelf;
  const UniqueFd backend = test::listen_tcp();
  auto gateway = std::make_unique<Gateway>(shelf);
  gateway->route(backend.get());
  gateway->engine().write_note("note");
  test::Link link = gateway->open(backend.get());
  UniqueFd* speaker = &link.client;
  UniqueFd* listener = &link.backend;
  SUBCASE("the client's") {}
  SUBCASE("the server's") {
    std::swap(speaker, listener);
  }
  // The listener has nothing more to say; the speaker says all and closes. The gateway's socket
  // to the speaker has then sent and received a FIN, and is closed like one that was reset.
  test::send_fin(listener->get());
  REQUIRE(test::receive_to_end(speaker->get()).end == test::StreamEnd::kFin);
  // Until the gateway has it all, and cannot pass it all on.
  std::string said;
  while (test::bytes_in_pipes() == 0) {
    const std::string chunk = test::pattern_bytes(50'000, static_cast<std::uint32_t>(said.size()));
    REQUIRE(test::send_all(speaker->get(), chunk));
    said += chunk;
    REQUIRE(test::eventually([&] {
      int on_its_way = 0;
      return ::ioctl(speaker->get(), TIOCOUTQ, &on_its_way) == 0 && on_its_way == 0;
    }));
    REQUIRE(gateway->settle());
  }
  test::send_fin(speaker->get());
  speaker->reset();
  REQUIRE(gateway->settle());
  gateway->leave();
  gateway = std::make_unique<Gateway>(shelf);
  CHECK(gateway->engine().recovery().recovered == 1);
  REQUIRE(gateway->settle());
  const test::Received rest = test::receive_to_end(listener->get());
  CHECK(rest.end == test::StreamEnd::kFin);
  CHECK(rest.bytes.size() == said.size());
  CHECK((rest.bytes == said));
  CHECK(gateway->failures() == 0);
  CHECK(test::eventually([&] { return gateway->engine().kept().sessions == 0; }));
}

TEST_CASE("bytes in a pipe that could not be kept: who cannot be proven whole ends") {
  Shelf shelf;
  test::Pair by_tcp = test::tcp_pair();
  test::Pair by_unix = test::unix_pair();
  test::Pair servers[2] = {test::tcp_pair(), test::tcp_pair()};
  {
    SessionStore store(shelf.store());
    std::vector<Survivor> survivors;
    RecoveryReport report;
    REQUIRE_FALSE(store.open({}, survivors, report));
    store.write_note("note");
    Kept kept[2];
    store.admit(kept[0], by_tcp.b.get(), true, {servers[0].a.get(), 1, 0});
    store.admit(kept[1], by_unix.b.get(), false, {servers[1].a.get(), 1, 0});
    PipePool pool;
    pool.set_keeper(&store);
    std::unique_ptr<Pipe> in_use;  // at the end as well
    SUBCASE("all are kept") {
      in_use = pool.take();
      REQUIRE(in_use->owner != nullptr);
    }
    SUBCASE("one is not") {
      shelf.close();  // no further queue
      const test::Pair filler = test::unix_pair();
      while (store.usage().failures == 0) {
        Kept unused;
        store.admit(unused, filler.a.get(), false, {});
      }
      in_use = pool.take();
      REQUIRE(in_use->owner == nullptr);
    }
    store.freeze();
  }
  const bool all_kept = shelf.store()->keep("probe", by_tcp.a.get()).code == 0;
  shelf.lose("probe");
  by_tcp.b.reset();
  by_unix.b.reset();
  for (test::Pair& server : servers) server.a.reset();
  SessionStore next(shelf.store());
  std::vector<Survivor> survivors;
  RecoveryReport report;
  REQUIRE_FALSE(next.open(shelf.copies(), survivors, report));
  bool tcp_goes_on = false;
  bool unix_goes_on = false;
  for (const Survivor& survivor : survivors) {
    if (survivor.backend.valid()) (survivor.tcp ? tcp_goes_on : unix_goes_on) = true;
  }
  CHECK(tcp_goes_on);
  CHECK(unix_goes_on == all_kept);
  next.freeze();
}

TEST_CASE("a connection that found itself is no server") {
  Shelf shelf;
  test::Pair client = test::tcp_pair();
  {
    UniqueFd narcissus = make_backend_socket(AF_INET, TcpOptions{});
    const SocketAddress any_port = parse_address("127.0.0.1", 0).take();
    REQUIRE(::bind(narcissus.get(), any_port.get(), any_port.length) == 0);
    const SocketAddress itself = test::address_of(narcissus.get());
    ::connect(narcissus.get(), itself.get(), itself.length);
    REQUIRE(test::eventually([&] { return connected_to_itself(narcissus.get()) == true; }));
    SessionStore store(shelf.store());
    std::vector<Survivor> survivors;
    RecoveryReport report;
    REQUIRE_FALSE(store.open({}, survivors, report));
    store.write_note("note");
    Kept kept;
    store.admit(kept, client.b.get(), true, {narcissus.get(), 1, 0});
    store.freeze();
    client.b.reset();
  }
  Gateway gateway(shelf);
  CHECK(gateway.engine().recovery().recovered == 1);
  REQUIRE(test::send_all(client.a.get(), "hello"));
  const UniqueFd backend = test::listen_tcp();
  gateway.route(backend.get(), 2);
  const UniqueFd server = test::accept_one(backend.get());
  CHECK(test::receive(server.get(), 5) == "hello");
}
