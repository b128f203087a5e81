// SPDX-License-Identifier: MIT
#include "admission.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "socket_address.h"

namespace pg_gateway {

namespace {

constexpr std::uint32_t kAny = UINT32_MAX;

ClientAddress from(const std::string& host, std::uint16_t port = 40'000) {
  return client_address(parse_address(host, port).take());
}

ClientAddress local() {
  ClientAddress client;
  client.family = AF_UNIX;
  return client;
}

}  // namespace

TEST_CASE("who may come in, with two here from 10.0.0.1 and one from 10.0.0.2") {
  struct Row {
    const char* comes;
    Admission::Limits limits;
    Admitted result;
  };
  const Row rows[] = {
      {"10.0.0.1", {kAny, 0}, Admitted::kYes},
      {"10.0.0.1", {4, 0}, Admitted::kYes},
      {"10.0.0.1", {3, 0}, Admitted::kTooMany},
      {"10.0.0.3", {2, 0}, Admitted::kTooMany},  // lowered while they were here
      {"10.0.0.1", {kAny, 3}, Admitted::kYes},
      {"10.0.0.1", {kAny, 2}, Admitted::kTooManyOfOneHost},
      {"10.0.0.1", {kAny, 1}, Admitted::kTooManyOfOneHost},
      {"::ffff:10.0.0.1", {kAny, 2}, Admitted::kTooManyOfOneHost},
      {"10.0.0.2", {kAny, 2}, Admitted::kYes},
      {"10.0.0.2", {kAny, 1}, Admitted::kTooManyOfOneHost},
      {"10.0.0.3", {kAny, 1}, Admitted::kYes},
      {"a00:1::", {kAny, 1}, Admitted::kYes},  // begins as 10.0.0.1 does
      {"10.0.0.1", {3, 2}, Admitted::kTooMany},
  };
  for (const Row& row : rows) {
    CAPTURE(row.comes);
    CAPTURE(row.limits.clients);
    CAPTURE(row.limits.of_one_host);
    Admission admission;
    for (const char* here : {"10.0.0.1", "10.0.0.1", "10.0.0.2"}) admission.readmit(from(here));
    CHECK(admission.enter(from(row.comes), row.limits) == row.result);
    CHECK(admission.clients() == (row.result == Admitted::kYes ? 4 : 3));
  }
}

TEST_CASE("a client without an address counts, but as nobody's") {
  Admission admission;
  const Admission::Limits limits{4, 1};
  for (int i = 0; i < 2; ++i) {
    CHECK(admission.enter(local(), limits) == Admitted::kYes);
    CHECK(admission.enter({}, limits) == Admitted::kYes);  // it is gone: nobody can ask
  }
  CHECK(admission.enter(local(), limits) == Admitted::kTooMany);
}

TEST_CASE("who leaves makes room for the next of the same host") {
  Admission admission;
  const Admission::Limits limits{kAny, 1};
  for (int i = 0; i < 1000; ++i) {
    const ClientAddress client = from("2001:db8::" + std::to_string(i % 10), 1);
    REQUIRE(admission.enter(client, limits) == Admitted::kYes);
    REQUIRE(admission.enter(client, limits) == Admitted::kTooManyOfOneHost);
    admission.leave(client);
  }
  CHECK(admission.clients() == 0);
}

TEST_CASE("only so many are told at once why they are turned away") {
  Admission admission;
  for (std::uint32_t i = 0; i < Admission::kMostTold; ++i) REQUIRE(admission.begin_telling());
  CHECK_FALSE(admission.begin_telling());
  admission.end_telling();
  CHECK(admission.begin_telling());
}

TEST_CASE("the limits hold whoever asks at the same time") {
  constexpr std::uint32_t kLimit = 100;
  Admission admission;
  std::atomic<std::uint32_t> in{0};
  std::atomic<std::uint32_t> most{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, host = from(thread % 2 == 0 ? "10.0.0.1" : "10.0.0.2")] {
      std::uint32_t mine = 0;
      for (int i = 0; i < 20'000; ++i) {
        if (admission.enter(host, {2 * kLimit, kLimit}) == Admitted::kYes) {
          ++mine;
          const std::uint32_t now = ++in;
          std::uint32_t before = most.load();
          while (now > before && !most.compare_exchange_weak(before, now)) continue;
        } else if (mine > 0) {
          --in;
          --mine;
          admission.leave(host);
        }
      }
      for (; mine > 0; --mine) {
        --in;
        admission.leave(host);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(most.load() <= 2 * kLimit);
  // More only if the threads of both hosts had a turn at the same time.
  CHECK(most.load() >= kLimit);
  CHECK(admission.clients() == 0);
}

}  // namespace pg_gateway
