// SPDX-License-Identifier: MIT
// Bulk transfers: who is looked at when; that the kernel is asked for fewer events while one runs,
// and for each again afterwards; and that no byte waits for an event that never comes.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <string>
#include <thread>

#include "bulk_flows.h"
#include "gateway.h"
#include "relay.h"
#include "shelf.h"
#include "support.h"

namespace pg_gateway {

namespace {

using test::eventually;
using test::Gateway;
using test::Link;

constexpr std::size_t kBulk = 8 << 20;

// How many sockets of this process wait for more than one byte.
std::size_t low_water_marks() {
  std::size_t found = 0;
  for (const int fd : test::open_fds()) {
    int bytes = 0;
    socklen_t length = sizeof bytes;
    if (::getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, &length) == 0 && bytes > 1) ++found;
  }
  return found;
}

// Looks all the time, while it lives, whether there is one.
class Watch {
 public:
  Watch()
      : thread_([this] {
          while (!done_.load()) {
            if (low_water_marks() > 0) seen_.store(true);
          }
        }) {}
  ~Watch() {
    done_.store(true);
    thread_.join();
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  bool seen() const { return seen_.load(); }

 private:
  std::atomic<bool> done_{false};
  std::atomic<bool> seen_{false};
  std::thread thread_;
};

}  // namespace

TEST_CASE("a bulk transfer is due when nothing has come for a while") {
  BulkFlows flows;
  CHECK(flows.next_ns() == std::numeric_limits<std::int64_t>::max());
  flows.touch({1, 7}, Side::kClient, 1000, true);
  flows.touch({1, 7}, Side::kBackend, 2000, true);
  flows.touch({2, 9}, Side::kClient, 3000, true);
  CHECK(flows.next_ns() == 1000 + BulkFlows::kPatienceNs);
  flows.touch({1, 7}, Side::kClient, 5000, true);
  CHECK(flows.next_ns() == 2000 + BulkFlows::kPatienceNs);
  CHECK(flows.take_due(1999 + BulkFlows::kPatienceNs).empty());
  const auto due = flows.take_due(3000 + BulkFlows::kPatienceNs);
  REQUIRE(due.size() == 2);
  CHECK(std::any_of(due.begin(), due.end(), [](auto& flow) {
    return flow.session.slot == 1 && flow.source == Side::kBackend;
  }));
  CHECK(std::any_of(due.begin(), due.end(), [](auto& flow) {
    return flow.session.slot == 2 && flow.session.generation == 9;
  }));
  CHECK(flows.next_ns() == 5000 + BulkFlows::kPatienceNs);
}

TEST_CASE("a slot's next session takes the place of the one before") {
  BulkFlows flows;
  flows.touch({1, 7}, Side::kClient, 1000, true);
  flows.touch({1, 8}, Side::kClient, 2000, true);
  const auto due = flows.take_due(std::numeric_limits<std::int64_t>::max());
  REQUIRE(due.size() == 1);
  CHECK(due.front().session.generation == 8);
}

TEST_CASE("a turn in which it was not read from puts nothing off") {
  BulkFlows flows;
  flows.touch({1, 7}, Side::kClient, 1000, false);
  CHECK(flows.next_ns() == 1000 + BulkFlows::kPatienceNs);
  flows.touch({1, 7}, Side::kClient, 2000, false);
  CHECK(flows.next_ns() == 1000 + BulkFlows::kPatienceNs);
  flows.touch({1, 8}, Side::kClient, 3000, false);
  CHECK(flows.next_ns() == 3000 + BulkFlows::kPatienceNs);
}

TEST_CASE("there are only so many") {
  BulkFlows flows;
  for (std::uint32_t slot = 0; slot < BulkFlows::kMost; ++slot) {
    CHECK_FALSE(flows.full());
    flows.touch({slot, 1}, Side::kClient, 0, true);
  }
  CHECK(flows.full());
}

TEST_CASE("in bulk fewer events are asked for, each byte arrives, and then all are as before") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  gateway.route(backend.get());
  Link link = gateway.open(backend.get());
  int from = link.backend.get();
  int to = link.client.get();
  SUBCASE("from the server") {}
  SUBCASE("from the client") {
    std::swap(from, to);
  }
  // What a stream has at its end, however little, waits for nobody.
  const std::string bytes = test::pattern_bytes(kBulk + 7);
  const Watch watch;
  // A mark does not last long: again, until one has been seen.
  for (int again = 0; again < 3 || (!watch.seen() && again < 100); ++again) {
    std::thread sender([&] { CHECK(test::send_all(from, bytes)); });
    CHECK((test::receive(to, bytes.size()) == bytes));
    sender.join();
    CHECK(eventually([] { return low_water_marks() == 0; }));
    CHECK(test::send_all(from, "x"));
    CHECK(test::receive(to, 1) == "x");
    CHECK(test::send_all(to, "y"));
    CHECK(test::receive(from, 1) == "y");
  }
  CHECK(watch.seen());
}

TEST_CASE("a side that stops reading in the middle of a bulk transfer gets the rest later") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  gateway.route(backend.get());
  Link link = gateway.open(backend.get());
  const std::string bytes = test::pattern_bytes(4 * kBulk);
  std::thread sender([&] { CHECK(test::send_all(link.backend.get(), bytes)); });
  const std::string got = test::receive(link.client.get(), kBulk);
  // A full sink is no reason to look again and again.
  CHECK(eventually([] { return low_water_marks() == 0; }));
  CHECK((got + test::receive(link.client.get(), bytes.size() - got.size()) == bytes));
  sender.join();
}

TEST_CASE("the end of a bulk transfer and a reset in it come at once") {
  const UniqueFd backend = test::listen_tcp();
  Gateway gateway;
  gateway.route(backend.get());
  Link link = gateway.open(backend.get());
  const std::string bytes = test::pattern_bytes(kBulk + 1);
  std::thread sender([&] {
    CHECK(test::send_all(link.backend.get(), bytes));
    link.backend.reset();
  });
  CHECK((test::receive(link.client.get(), bytes.size()) == bytes));
  sender.join();
  CHECK(test::receive_to_end(link.client.get()).end == test::StreamEnd::kFin);
}

TEST_CASE("the next process asks for each event again") {
  const UniqueFd backend = test::listen_tcp();
  test::Shelf shelf;
  Link link;
  {
    Gateway gateway(shelf);
    gateway.engine().write_note("what the control plane knows");
    gateway.route(backend.get());
    link = gateway.open(backend.get());
    const std::string bytes = test::pattern_bytes(kBulk);
    // It leaves in the middle: the last bytes are on their way still.
    std::thread sender([&] { CHECK(test::send_all(link.backend.get(), bytes)); });
    const std::string got = test::receive(link.client.get(), kBulk / 2);
    gateway.leave();
    Gateway next(shelf);
    next.route(backend.get());
    CHECK((got + test::receive(link.client.get(), kBulk - got.size()) == bytes));
    CHECK(next.engine().recovery().not_whole == 0);
    CHECK(next.engine().recovery().missing == 0);
    CHECK(next.engine().recovery().recovered == 1);
    sender.join();
    CHECK(test::send_all(link.backend.get(), "x"));
    CHECK(test::receive(link.client.get(), 1) == "x");
    CHECK(eventually([] { return low_water_marks() == 0; }));
  }
}

}  // namespace pg_gateway
