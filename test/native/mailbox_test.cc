// SPDX-License-Identifier: MIT
#include "mailbox.h"

#include <doctest/doctest.h>

#include <thread>
#include <variant>
#include <vector>

#include "support.h"

namespace pg_gateway {

TEST_CASE("messages come in the order they were posted, and wake") {
  Mailbox mailbox;
  REQUIRE_FALSE(mailbox.open());
  CHECK_FALSE(test::is_readable(mailbox.fd(), 0));
  mailbox.post(Heartbeat{1});
  mailbox.post(Settings{});
  mailbox.post(Stop{});
  CHECK(test::is_readable(mailbox.fd(), 0));
  const std::vector<Message> messages = mailbox.take();
  REQUIRE(messages.size() == 3);
  CHECK(std::get<Heartbeat>(messages[0]).posted_ns == 1);
  CHECK(std::holds_alternative<Settings>(messages[1]));
  CHECK(std::holds_alternative<Stop>(messages[2]));
  CHECK_FALSE(test::is_readable(mailbox.fd(), 0));
  CHECK(mailbox.take().empty());
}

TEST_CASE("no message is lost between threads, and none waits without a wake-up") {
  constexpr int kThreads = 4;
  constexpr int kEach = 5'000;
  Mailbox mailbox;
  REQUIRE_FALSE(mailbox.open());
  std::vector<std::thread> posters;
  for (int i = 0; i < kThreads; ++i) {
    posters.emplace_back([&] {
      for (int n = 0; n < kEach; ++n) mailbox.post(Heartbeat{n});
    });
  }
  int received = 0;
  while (received < kThreads * kEach && test::is_readable(mailbox.fd())) {
    received += static_cast<int>(mailbox.take().size());
  }
  for (std::thread& poster : posters) poster.join();
  CHECK(received == kThreads * kEach);
}

TEST_CASE("undelivered clients are closed with the mailbox") {
  test::Pair pair = test::tcp_pair();
  {
    Mailbox mailbox;
    REQUIRE_FALSE(mailbox.open());
    mailbox.post(NewClient{std::move(pair.b), true, {}, {}, 0, {}});
  }
  CHECK(test::receive_to_end(pair.a.get()).end == test::StreamEnd::kFin);
}

}  // namespace pg_gateway
