// SPDX-License-Identifier: MIT
#include "relay.h"

#include <doctest/doctest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "support.h"

namespace pg_gateway {

namespace {

using test::StreamEnd;

// writer ==in==> [relay] ==out==> reader
struct Scene {
  explicit Scene(bool tcp_source = true)
      : in(tcp_source ? test::tcp_pair() : test::unix_pair()), relay(tcp_source) {}

  int writer() const { return in.a.get(); }
  int reader() const { return out.b.get(); }
  PumpResult pump() { return relay.pump(in.b.get(), out.a.get(), pool); }
  // An edge of the source, and a turn.
  PumpResult ready_and_pump(bool hangup = false) {
    test::is_readable(in.b.get());
    relay.source_ready(hangup);
    return pump();
  }

  test::Pair in;
  test::Pair out = test::tcp_pair();
  PipePool pool;
  Relay relay;
};

// Sends until the sink takes no more and the relay keeps bytes; how many were sent.
std::size_t stall(Scene& scene, std::string_view pattern) {
  std::size_t sent = 0;
  while (scene.relay.residue() == 0) {
    sent += test::flood(scene.writer(), pattern, sent, 0);
    (void)scene.ready_and_pump();
  }
  return sent;
}

// Pumps as the edges of a live worker would, until `done`; what the reader got.
template <typename Done>
std::string pump_and_read(Scene& scene, Done done) {
  std::string got;
  test::eventually([&] {
    scene.relay.sink_ready();
    scene.relay.source_ready(false);
    (void)scene.pump();
    got += test::receive(scene.reader(), 1 << 20, 0);
    return done(got);
  });
  return got;
}

}  // namespace

TEST_CASE("bytes arrive as they were sent") {
  for (const bool tcp : {true, false}) {
    for (const std::size_t size : {1, 100, 4096, 70'000}) {
      CAPTURE(tcp);
      CAPTURE(size);
      Scene scene(tcp);
      CHECK_FALSE(scene.relay.runnable());
      const std::string bytes = test::pattern_bytes(size);
      CHECK(test::send_all(scene.writer(), bytes));
      CHECK(scene.ready_and_pump() == PumpResult::kWaiting);
      CHECK(pump_and_read(scene, [&](auto& got) { return got.size() >= size; }) == bytes);
      CHECK(scene.relay.delivered() == size);
      CHECK(scene.relay.residue() == 0);
    }
  }
}

TEST_CASE("an idle relay holds no pipe") {
  Scene scene;
  CHECK(test::send_all(scene.writer(), "query"));
  CHECK(scene.ready_and_pump() == PumpResult::kWaiting);
  CHECK(scene.pool.idle() == 1);
  CHECK_FALSE(scene.relay.runnable());
}

TEST_CASE("a full sink: the relay keeps its pipe and a bounded residue, then goes on") {
  for (const bool tcp : {true, false}) {
    CAPTURE(tcp);
    Scene scene(tcp);
    const std::string pattern = test::pattern_bytes(99'991);
    const std::size_t sent = stall(scene, pattern);
    CHECK(scene.relay.residue() <= Relay::kMaxTake);
    CHECK(scene.pool.idle() == 0);
    CHECK_FALSE(scene.relay.runnable());
    scene.relay.source_ready(false);
    CHECK_FALSE(scene.relay.runnable());  // blocked: more bytes do not help
    CHECK(scene.pump() == PumpResult::kWaiting);

    CHECK(pump_and_read(scene, [&](auto& got) { return got.size() >= sent; }) ==
          test::flooded(pattern, sent));
    CHECK(scene.relay.residue() == 0);
    CHECK(scene.relay.delivered() == sent);
    CHECK(scene.pool.idle() == 1);  // the pipe came back, empty
  }
}

TEST_CASE("more small segments than the pipe has buffers") {
  // Each one-byte segment may take a buffer of the pipe: a splice is then short because the pipe
  // is full, and must not be taken for the end of what there is.
  Scene scene;
  const std::string bytes = test::pattern_bytes(3 * 256 + 17);
  for (const char byte : bytes) CHECK(test::send_all(scene.writer(), {&byte, 1}));
  test::eventually([&] {
    std::string peeked(bytes.size(), '\0');
    return ::recv(scene.in.b.get(), peeked.data(), peeked.size(), MSG_PEEK) ==
           static_cast<ssize_t>(bytes.size());
  });
  // One edge for all of it.
  CHECK(scene.ready_and_pump() == PumpResult::kWaiting);
  CHECK(test::receive(scene.reader(), bytes.size()) == bytes);
}

TEST_CASE("a short read does not hide what comes later") {
  Scene scene;
  for (int i = 0; i < 100; ++i) {
    const std::string bytes = test::pattern_bytes(1 + static_cast<std::size_t>(i) * 37, 7);
    CHECK(test::send_all(scene.writer(), bytes));
    CHECK(scene.ready_and_pump() == PumpResult::kWaiting);
    CHECK(test::receive(scene.reader(), bytes.size(), 1000) == bytes);
  }
}

TEST_CASE("an end of stream behind bytes, both in one wake-up") {
  for (const bool tcp : {true, false}) {
    CAPTURE(tcp);
    Scene scene(tcp);
    CHECK(test::send_all(scene.writer(), "last words"));
    test::send_fin(scene.writer());
    // Loopback delivers in order; the FIN is there when a peek behind the bytes sees it.
    test::eventually([&] {
      tcp_info info{};
      socklen_t length = sizeof info;
      return !tcp || (::getsockopt(scene.in.b.get(), IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
                      info.tcpi_state == TCP_CLOSE_WAIT);
    });
    CHECK(scene.ready_and_pump(true) == PumpResult::kEnd);
    CHECK(scene.relay.ended());
    CHECK_FALSE(scene.relay.runnable());
    const test::Received received = test::receive_to_end(scene.reader());
    CHECK(received.bytes == "last words");
    CHECK(received.end == StreamEnd::kFin);
    CHECK(scene.pool.idle() == 1);
  }
}

TEST_CASE("the end of stream waits for the residue") {
  Scene scene;
  const std::string pattern = test::pattern_bytes(65'537);
  const std::size_t sent = stall(scene, pattern);
  test::send_fin(scene.writer());
  scene.relay.source_ready(true);
  CHECK(scene.pump() == PumpResult::kWaiting);
  CHECK_FALSE(scene.relay.ended());
  CHECK(pump_and_read(scene, [&](auto&) { return scene.relay.ended(); }).size() <= sent);
  CHECK(scene.relay.delivered() == sent);
}

TEST_CASE("one turn moves no more than its budget and says that there is more") {
  Scene scene;
  const int big = 4 << 20;
  ::setsockopt(scene.out.a.get(), SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof big);
  ::setsockopt(scene.in.b.get(), SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof big);
  const std::string pattern = test::pattern_bytes(99'991);
  std::size_t sent = 0;
  std::string got;
  bool more_seen = false;
  test::eventually([&] {
    sent += test::flood(scene.writer(), pattern, sent, 0);
    const std::uint64_t before = scene.relay.delivered();
    scene.relay.source_ready(false);
    scene.relay.sink_ready();
    const PumpResult result = scene.pump();
    const std::uint64_t moved = scene.relay.delivered() - before;
    CHECK(moved <= Relay::kTurnBudget + Relay::kMaxTake);
    if (result == PumpResult::kMore) {
      more_seen = true;
      CHECK(moved >= Relay::kTurnBudget);
      CHECK(scene.relay.runnable());
    }
    got += test::receive(scene.reader(), 1 << 20, 0);
    return more_seen;
  });
  CHECK(more_seen);
  got += pump_and_read(scene, [&](auto& rest) { return got.size() + rest.size() >= sent; });
  CHECK(got == test::flooded(pattern, sent));
}

TEST_CASE("a sink that is gone") {
  Scene scene;
  SUBCASE("reset by its peer") {
    test::reset_connection(scene.out.b);
    test::is_readable(scene.out.a.get());
  }
  SUBCASE("shut for writing") {
    ::shutdown(scene.out.a.get(), SHUT_WR);
  }
  CHECK(test::send_all(scene.writer(), "to nobody"));
  CHECK(scene.ready_and_pump() == PumpResult::kSinkFailed);
  CHECK((scene.relay.last_errno() == EPIPE || scene.relay.last_errno() == ECONNRESET));
  CHECK(scene.relay.residue() == 0);
  CHECK(scene.pool.idle() == 0);  // the pipe had bytes in it: never used again
  CHECK(scene.relay.delivered() == 0);
}

TEST_CASE("abandoned with a residue: the pipe is destroyed") {
  const std::size_t before = test::open_fds().size();
  {
    Scene scene;
    (void)stall(scene, test::pattern_bytes(65'537));
    CHECK(test::open_fds().size() == before + 6);
    scene.relay.abandon();
    CHECK(scene.relay.ended());
    CHECK_FALSE(scene.relay.runnable());
    CHECK(scene.pool.idle() == 0);
    CHECK(test::open_fds().size() == before + 4);
  }
  CHECK(test::open_fds().size() == before);
}

TEST_CASE("a source that resets: what it said before is delivered first") {
  Scene scene;
  CHECK(test::send_all(scene.writer(), "before the reset"));
  CHECK(test::is_readable(scene.in.b.get()));
  test::reset_connection(scene.in.a);
  tcp_info info{};
  socklen_t length = sizeof info;
  CHECK(test::eventually([&] {
    return ::getsockopt(scene.in.b.get(), IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
           info.tcpi_state == TCP_CLOSE;
  }));
  CHECK(scene.ready_and_pump(true) == PumpResult::kSourceFailed);
  CHECK(scene.relay.last_errno() == ECONNRESET);
  CHECK(test::receive(scene.reader(), 16) == "before the reset");
  CHECK(scene.pool.idle() == 1);
}

TEST_CASE("an AF_UNIX source whose peer closed with bytes under way") {
  Scene scene(false);
  CHECK(test::send_all(scene.writer(), "fire and forget"));
  scene.in.a.reset();
  CHECK(scene.ready_and_pump(true) == PumpResult::kEnd);
  CHECK(test::receive_to_end(scene.reader()).bytes == "fire and forget");
}

TEST_CASE("no pipe to be had: nothing is lost, and later it goes on") {
  Scene scene;
  CHECK(test::send_all(scene.writer(), "patience"));
  {
    const test::FdExhaustion out(0);
    CHECK(scene.ready_and_pump() == PumpResult::kNoPipe);
    CHECK(scene.relay.last_errno() == EMFILE);
    CHECK(scene.relay.runnable());
  }
  CHECK(scene.pump() == PumpResult::kWaiting);
  CHECK(test::receive(scene.reader(), 8) == "patience");
}

}  // namespace pg_gateway
