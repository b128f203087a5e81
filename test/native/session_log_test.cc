// SPDX-License-Identifier: MIT
// The ring between a worker and the control plane, and what a worker writes into it.
#include "session_log.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <atomic>
#include <string>
#include <thread>

#include "gateway.h"
#include "support.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::Link;

SessionEvent numbered(std::uint64_t number) {
  SessionEvent event;
  event.bytes_up = number;
  return event;
}

Settings logging() {
  Settings settings;
  settings.log_sessions = true;
  return settings;
}

std::uint16_t port_of(const SocketAddress& address) {
  return ntohs(reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_port);
}

SocketAddress peer_of(int fd) {
  SocketAddress peer;
  peer.length = sizeof peer.storage;
  ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer.storage), &peer.length);
  return peer;
}

// Everything recorded, once there are `count` events.
SessionEvents wait_for_events(Gateway& gateway, std::size_t count) {
  SessionEvents all;
  CHECK(eventually([&] {
    SessionEvents more = gateway.engine().take_session_events();
    all.events.insert(all.events.end(), more.events.begin(), more.events.end());
    all.lost += more.lost;
    return all.events.size() >= count;
  }));
  return all;
}

}  // namespace

TEST_CASE("a ring gives what it was given, in order, and counts what it had no room for") {
  SessionLog log;
  log.prepare();
  std::uint64_t next = 0;
  // Several times round, and from different places.
  for (const std::uint32_t batch : {1u, 700u, SessionLog::kCapacity, SessionLog::kCapacity + 5}) {
    const std::uint64_t first = next;
    for (std::uint32_t i = 0; i < batch; ++i) log.push(numbered(next++));
    SessionEvents taken;
    log.take(taken);
    const std::uint32_t fits = batch < SessionLog::kCapacity ? batch : SessionLog::kCapacity;
    REQUIRE(taken.events.size() == fits);
    CHECK(taken.events.front().bytes_up == first);
    CHECK(taken.events.back().bytes_up == first + fits - 1);
    CHECK(taken.lost == batch - fits);
  }
  SessionEvents nothing;
  log.take(nothing);
  CHECK(nothing.events.empty());
  CHECK(nothing.lost == 0);
}

TEST_CASE("a reader beside the writer misses nothing that was not counted") {
  constexpr std::uint64_t kEvents = 200'000;
  SessionLog log;
  log.prepare();
  std::atomic<bool> written{false};
  std::thread writer([&] {
    for (std::uint64_t i = 0; i < kEvents; ++i) log.push(numbered(i));
    written.store(true);
  });
  std::uint64_t seen = 0;
  std::uint64_t lost = 0;
  std::uint64_t last = 0;
  bool ascending = true;
  for (bool more = true; more;) {
    more = !written.load();
    SessionEvents taken;
    log.take(taken);
    for (const SessionEvent& event : taken.events) {
      ascending = ascending && (seen == 0 || event.bytes_up > last);
      last = event.bytes_up;
      ++seen;
    }
    lost += taken.lost;
  }
  writer.join();
  CHECK(ascending);
  CHECK(seen + lost == kEvents);
}

TEST_CASE("a session that comes and goes is told with its addresses, bytes and end") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(1, logging());
  REQUIRE(gateway.started());
  gateway.route(backend.get(), 1, 3);
  Link link = gateway.open(backend.get());
  REQUIRE(link.backend.valid());
  const std::uint16_t client_port = port_of(test::address_of(link.client.get()));
  const std::uint16_t source_port = port_of(peer_of(link.backend.get()));
  CHECK(test::send_all(link.client.get(), "select 1"));
  CHECK(test::receive(link.backend.get(), 8) == "select 1");
  CHECK(test::send_all(link.backend.get(), "one row"));
  CHECK(test::receive(link.client.get(), 7) == "one row");
  link.client.reset();
  link.backend.reset();

  const SessionEvents all = wait_for_events(gateway, 2);
  REQUIRE(all.events.size() == 2);
  for (const SessionEvent& event : all.events) {
    CHECK(event.client.text() == "127.0.0.1");
    CHECK(event.client.port == client_port);
    CHECK(event.source_port == source_port);
    CHECK(event.server == 3);
    CHECK(event.duration_ns > 0);
  }
  CHECK(all.events[0].kind == SessionEventKind::kOpened);
  CHECK(all.events[1].kind == SessionEventKind::kEnded);
  CHECK(all.events[1].reason == static_cast<std::uint8_t>(EndReason::kClientClosed));
  CHECK(all.events[1].bytes_up == 8);
  CHECK(all.events[1].bytes_down == 7);
  CHECK(all.events[1].duration_ns >= all.events[0].duration_ns);
}

TEST_CASE("nothing is recorded unless asked for, from the next session on") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  REQUIRE(gateway.started());
  gateway.route(backend.get());
  Link before = gateway.open(backend.get());
  REQUIRE(before.backend.valid());
  CHECK(gateway.engine().take_session_events().events.empty());

  gateway.engine().configure(logging());
  Link during = gateway.open(backend.get());
  REQUIRE(during.backend.valid());
  const std::uint16_t old_port = port_of(test::address_of(before.client.get()));
  // Of one that was there before, what its sockets still tell.
  gateway.no_route(2);
  const SessionEvents all = wait_for_events(gateway, 3);
  REQUIRE(all.events.size() == 3);
  CHECK(all.events[0].kind == SessionEventKind::kOpened);
  CHECK(all.events[1].kind == SessionEventKind::kCut);
  CHECK(all.events[1].reason == static_cast<std::uint8_t>(CutReason::kDemoted));
  CHECK(all.events[1].client.port == old_port);
  CHECK(all.events[1].source_port == port_of(peer_of(before.backend.get())));
  CHECK(all.events[2].kind == SessionEventKind::kCut);

  gateway.engine().configure(Settings{});
  gateway.route(backend.get(), 3);
  Link after = gateway.open(backend.get());
  REQUIRE(after.backend.valid());
  CHECK(gateway.engine().take_session_events().events.empty());
}

TEST_CASE("a client that is turned away is told with the reason it was counted under") {
  Gateway gateway(1, logging());
  REQUIRE(gateway.started());
  gateway.no_route();
  UniqueFd asks = gateway.connect();
  CHECK(test::send_all(asks.get(), test::kStartupMessage));
  SessionEvents all = wait_for_events(gateway, 1);
  REQUIRE(all.events.size() == 1);
  CHECK(all.events[0].kind == SessionEventKind::kTurnedAway);
  CHECK(all.events[0].reason == static_cast<std::uint8_t>(RejectReason::kNoPrimary));
  CHECK(all.events[0].client.port == port_of(test::address_of(asks.get())));

  UniqueFd leaves = gateway.connect();
  leaves.reset();
  all = wait_for_events(gateway, 1);
  REQUIRE(all.events.size() == 1);
  CHECK(all.events[0].reason == static_cast<std::uint8_t>(RejectReason::kStartup));
}

TEST_CASE("what the end of the gateway cuts is told after it") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway(2, logging());
  REQUIRE(gateway.started());
  gateway.route(backend.get());
  Link link = gateway.open(backend.get());
  REQUIRE(link.backend.valid());
  CHECK(gateway.engine().take_session_events().events.size() == 1);
  CHECK(gateway.engine().stop(0));
  const SessionEvents all = gateway.engine().take_session_events();
  REQUIRE(all.events.size() == 1);
  CHECK(all.events[0].kind == SessionEventKind::kCut);
  CHECK(all.events[0].reason == static_cast<std::uint8_t>(CutReason::kShutdown));
}

TEST_CASE("an address is told as people write it") {
  const UniqueFd v4 = test::listen_tcp("127.0.0.1", 1);
  const UniqueFd client = test::connect_to(test::address_of(v4.get()));
  CHECK(client_address_of(client.get()).text() == "127.0.0.1");
  CHECK(client_address_of(client.get()).port == port_of(test::address_of(v4.get())));
  CHECK(client_address_of(v4.get()).text().empty());  // it has no peer

  ClientAddress v6;
  v6.family = AF_INET6;
  v6.ip[15] = 1;
  CHECK(v6.text() == "::1");
  ClientAddress local;
  local.family = AF_UNIX;
  CHECK(local.text() == "unix");
}

}  // namespace pg_gateway
