// SPDX-License-Identifier: MIT
#include "rejection.h"

#include <doctest/doctest.h>

#include <string>

#include "support.h"

namespace pg_gateway {

namespace {

using namespace std::string_literals;
using test::Received;
using test::StreamEnd;

const std::string kStartup = "\0\0\0\x17\0\3\0\0user\0somebody\0\0"s;  // 23 bytes
const std::string kSslRequest = "\0\0\0\x08\x04\xd2\x16\x2f"s;
const std::string kGssRequest = "\0\0\0\x08\x04\xd2\x16\x30"s;
const std::string kCancel = "\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\1\0\0\0\2"s;
const std::string kAnswer = fatal_error_response("57P03", "nobody is home", "");

struct Scene {
  test::Pair pair = test::tcp_pair();
  Rejection rejection{kAnswer};

  int client() const { return pair.a.get(); }
  // What the worker does when the client's socket has an event.
  RejectProgress say(std::string_view bytes) {
    test::send_all(client(), bytes);
    test::is_readable(pair.b.get());
    return rejection.advance(pair.b.get());
  }
  void close_gateway_side() { pair.b.reset(); }
};

}  // namespace

TEST_CASE("a startup message is answered, whatever pieces it comes in") {
  Scene scene;
  SUBCASE("in one") {
    CHECK(scene.say(kStartup) == RejectProgress::kAnswered);
  }
  SUBCASE("byte by byte") {
    for (std::size_t i = 0; i + 1 < kStartup.size(); ++i) {
      CHECK(scene.say(kStartup.substr(i, 1)) == RejectProgress::kWaiting);
    }
    CHECK_FALSE(scene.rejection.heard());
    CHECK(scene.say(kStartup.substr(kStartup.size() - 1)) == RejectProgress::kAnswered);
  }
  SUBCASE("the header, then the rest") {
    CHECK(scene.say(kStartup.substr(0, 8)) == RejectProgress::kWaiting);
    CHECK(scene.say(kStartup.substr(8)) == RejectProgress::kAnswered);
  }
  SUBCASE("nothing but a header") {
    CHECK(scene.say("\0\0\0\x08\0\3\0\0"s) == RejectProgress::kAnswered);
  }
  SUBCASE("as long as PostgreSQL allows") {
    std::string longest = "\0\0\x27\x14\0\3\0\0"s;
    longest.resize(kMaxStartupBytes, 'x');
    test::send_all(scene.client(), longest);
    CHECK(test::eventually(
        [&] { return scene.rejection.advance(scene.pair.b.get()) == RejectProgress::kAnswered; }));
  }
  CHECK(scene.rejection.heard());
  const Received received = test::receive_to_end(scene.client());
  CHECK(received.bytes == kAnswer);
  CHECK(received.end == StreamEnd::kFin);
}

TEST_CASE("encryption is declined, then the startup message is answered") {
  struct Row {
    const char* what;
    std::string requests;
    std::string declined;
  };
  const Row rows[] = {{"SSL", kSslRequest, "N"},
                      {"GSS", kGssRequest, "N"},
                      {"GSS, then SSL (libpq's order)", kGssRequest + kSslRequest, "NN"},
                      {"SSL, then GSS", kSslRequest + kGssRequest, "NN"}};
  for (const Row& row : rows) {
    CAPTURE(row.what);
    Scene scene;
    for (std::size_t at = 0; at < row.requests.size(); at += 8) {
      CHECK(scene.say(std::string_view(row.requests).substr(at, 8)) == RejectProgress::kWaiting);
      CHECK(test::receive(scene.client(), 1) == "N");
    }
    CHECK(scene.rejection.heard());
    CHECK_FALSE(scene.rejection.answered());
    CHECK(scene.say(kStartup) == RejectProgress::kAnswered);
    CHECK(test::receive_to_end(scene.client()).bytes == kAnswer);

    Scene impatient;  // all in one packet, as no client does
    CHECK(impatient.say(row.requests + kStartup) == RejectProgress::kAnswered);
    CHECK(test::receive_to_end(impatient.client()).bytes == row.declined + kAnswer);
  }
}

TEST_CASE("each kind of encryption may be asked for once") {
  for (const std::string& request : {kSslRequest, kGssRequest}) {
    Scene scene;
    CHECK(scene.say(request) == RejectProgress::kWaiting);
    CHECK(scene.say(request) == RejectProgress::kMalformed);
  }
}

TEST_CASE("a CancelRequest is left as it is, for whoever passes it on") {
  Scene scene;
  SUBCASE("alone") {}
  SUBCASE("after encryption was declined") {
    CHECK(scene.say(kSslRequest) == RejectProgress::kWaiting);
    CHECK(test::receive(scene.client(), 1) == "N");
  }
  CHECK(scene.say(kCancel) == RejectProgress::kCancels);
  CHECK(scene.rejection.heard());
  CHECK(test::receive(scene.pair.b.get(), kCancel.size()) == kCancel);
}

TEST_CASE("a CancelRequest that no server reads to its end is not passed on") {
  const std::string header = kCancel.substr(4, 4);
  const std::string rows[] = {
      kCancel.substr(0, 8),                               // and nothing more
      kCancel.substr(0, 15),                              // a byte less
      "\0\0\0\x0f"s + header + std::string(7, 'k'),       // a key that is too short
      "\0\0\x01\x0d"s + header + std::string(261, 'k'),   // and one that is too long
      "\0\0\x27\x14"s + header + std::string(9996, 'k'),  // as long as any message may be
  };
  for (const std::string& row : rows) {
    CAPTURE(row.size());
    Scene scene;
    CHECK(scene.say(row) == RejectProgress::kDone);
    CHECK(scene.rejection.heard());
    CHECK_FALSE(scene.rejection.answered());
  }
}

TEST_CASE("a CancelRequest with the longest key is one") {
  Scene scene;
  CHECK(scene.say("\0\0\x01\x0c"s + kCancel.substr(4, 4) + std::string(260, 'k')) ==
        RejectProgress::kCancels);
}

TEST_CASE("a CancelRequest in pieces ends in silence") {
  Scene scene;
  CHECK(scene.say(kCancel.substr(0, 5)) == RejectProgress::kWaiting);
  CHECK(scene.say(kCancel.substr(5)) == RejectProgress::kDone);
  CHECK(scene.rejection.heard());
  CHECK_FALSE(scene.rejection.answered());
  scene.close_gateway_side();
  CHECK(test::receive_to_end(scene.client()).bytes.empty());
}

TEST_CASE("what is no startup message is malformed") {
  const std::string rows[] = {"GET / HTTP/1.1\r\n\r\n", "\0\0\x27\x15\0\3\0\0"s,
                              "\0\0\0\x07\0\3\0\0"s, "\0\0\0\x10\0\2\0\0"s};
  for (const std::string& row : rows) {
    Scene scene;
    CHECK(scene.say(row) == RejectProgress::kMalformed);
    CHECK_FALSE(scene.rejection.heard());
  }
}

TEST_CASE("a client that hangs up early") {
  Scene scene;
  SUBCASE("before a word") {}
  SUBCASE("within the header") {
    CHECK(scene.say("\0\0"s) == RejectProgress::kWaiting);
  }
  SUBCASE("within the message") {
    CHECK(scene.say(kStartup.substr(0, 12)) == RejectProgress::kWaiting);
  }
  scene.pair.a.reset();
  CHECK(test::is_readable(scene.pair.b.get()));
  CHECK(scene.rejection.advance(scene.pair.b.get()) == RejectProgress::kMalformed);
}

TEST_CASE("a client that resets") {
  Scene scene;
  test::reset_connection(scene.pair.a);
  CHECK(test::is_readable(scene.pair.b.get()));
  CHECK(scene.rejection.advance(scene.pair.b.get()) == RejectProgress::kMalformed);
}

TEST_CASE("after the answer the gateway waits for the client to hang up") {
  Scene scene;
  CHECK(scene.say(kStartup) == RejectProgress::kAnswered);
  CHECK(scene.rejection.advance(scene.pair.b.get()) == RejectProgress::kAnswered);
  test::send_fin(scene.client());
  CHECK(test::is_readable(scene.pair.b.get()));
  CHECK(scene.rejection.advance(scene.pair.b.get()) == RejectProgress::kDone);
}

TEST_CASE("a client that said more than its startup message gets the answer and a FIN, no RST") {
  Scene scene;
  const std::string more(30'000, 'q');
  CHECK(test::send_all(scene.client(), kStartup + more));
  test::send_fin(scene.client());
  CHECK(test::eventually(
      [&] { return scene.rejection.advance(scene.pair.b.get()) == RejectProgress::kDone; }));
  scene.close_gateway_side();
  const Received received = test::receive_to_end(scene.client());
  CHECK(received.bytes == kAnswer);
  CHECK(received.end == StreamEnd::kFin);
}

TEST_CASE("a client that floods after the answer is not listened to for ever") {
  Scene scene;
  CHECK(scene.say(kStartup) == RejectProgress::kAnswered);
  const std::string more(8'192, 'q');
  RejectProgress progress = RejectProgress::kAnswered;
  for (int i = 0; i < 1000 && progress == RejectProgress::kAnswered; ++i) {
    progress = scene.say(more);
  }
  CHECK(progress == RejectProgress::kDone);
}

}  // namespace pg_gateway
