// SPDX-License-Identifier: MIT
// How a session begins, with real sockets: a client that says anything in pieces of any size, to
// a server that does the same (opening.h), and to the gateway itself, which turns it away
// (rejection.h).
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string>
#include <string_view>

#include "input.h"
#include "opening.h"
#include "pg_wire.h"
#include "rejection.h"
#include "support.h"

using namespace pg_gateway;
using fuzz::Input;
using fuzz::require;

namespace {

std::string take_all(int socket) {
  std::string all;
  std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got <= 0) return all;
    all.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

std::string queue_of(int socket) {
  std::string all(1 << 16, '\0');
  const ssize_t got = ::recv(socket, all.data(), all.size(), MSG_PEEK | MSG_DONTWAIT);
  all.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return all;
}

bool say(int socket, std::string_view bytes) {
  return ::send(socket, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL) ==
         static_cast<ssize_t>(bytes.size());
}

// Sizes of pieces: many small ones, some large.
std::size_t piece(Input& input) {
  const std::size_t size = input.number<std::uint8_t>();
  return size < 200 ? size % 24 : (size - 199) * 200;
}

struct Exchange {
  test::Pair client = test::unix_pair();
  test::Pair server = test::unix_pair();
  Opening opening;
  std::string said;           // by the client
  std::string answered;       // by the server
  std::string got;            // by the server
  std::size_t told = 0;       // requests that were declined
  bool only_requests = true;  // were taken from the client, and declined
  bool over = false;

  // The server has what has been read from the client, and a copy of what is ahead.
  void check() {
    got += take_all(server.b.get());
    const std::string queue = queue_of(client.a.get());
    require(said.ends_with(queue), "what the client has said last is in its queue");
    const std::size_t consumed = said.size() - queue.size();
    require(opening.ahead <= queue.size(), "the copy is of what is there");
    require(got == said.substr(0, consumed + opening.ahead), "no byte is lost or said twice");
    require(queue_of(server.a.get()) == answered.substr(told), "answers are left alone");
    only_requests = consumed == kStartupHeaderBytes * told;
  }

  void advance() {
    while (!over) {
      const OpeningProgress progress = opening.advance(client.a.get(), server.a.get());
      check();
      switch (progress) {
        case OpeningProgress::kWaiting:
          require(only_requests, "the client can be given another server");
          return;
        case OpeningProgress::kRefused:
          require(only_requests, "a refused client has lost nothing");
          over = true;
          break;
        case OpeningProgress::kOver:
          require(opening.ahead == 0, "nothing is ahead of the relay");
          over = true;
          break;
        case OpeningProgress::kDeclined: {
          char answer = 0;
          require(::recv(server.a.get(), &answer, 1, MSG_DONTWAIT) == 1 && answer == 'N',
                  "it has declined");
          ++told;
          break;
        }
      }
    }
  }
};

void open_session(Input& input) {
  Exchange exchange;
  while (!input.empty() && !exchange.over) {
    switch (input.choice(6)) {
      case 0:
      case 1:
        if (const std::string_view bytes = input.bytes(piece(input));
            !exchange.opening.client_ended && say(exchange.client.b.get(), bytes)) {
          exchange.said += bytes;
        }
        break;
      case 2:
      case 3:
        if (const std::string_view bytes = input.bytes(piece(input));
            !exchange.opening.backend_ended && say(exchange.server.b.get(), bytes)) {
          exchange.answered += bytes;
        }
        break;
      case 4:
        ::shutdown(exchange.client.b.get(), SHUT_WR);
        exchange.opening.client_ended = true;
        break;
      default:
        ::shutdown(exchange.server.b.get(), SHUT_WR);
        exchange.opening.backend_ended = true;
        break;
    }
    exchange.advance();
  }
  (void)is_whole_message(exchange.client.a.get(), exchange.opening.ahead);
  (void)declines_encryption(exchange.server.a.get());
}

// What the client of a rejection is told, and how that ends, if it says this in such pieces.
struct Told {
  std::string bytes;
  RejectProgress progress = RejectProgress::kWaiting;
  bool heard = false;
  bool operator==(const Told&) const = default;
};

Told turn_away(std::string_view all, Input pieces, bool at_once) {
  test::Pair client = test::unix_pair();
  Rejection rejection("the response");
  Told told;
  while (!all.empty()) {
    const std::size_t most = at_once ? all.size() : 1 + piece(pieces);
    const std::string_view part = all.substr(0, most);
    all.remove_prefix(part.size());
    if (!say(client.b.get(), part)) break;
    told.progress = rejection.advance(client.a.get());
    // Only one that comes at once is passed on.
    if (told.progress == RejectProgress::kCancels) told.progress = RejectProgress::kDone;
    if (told.progress == RejectProgress::kDone || told.progress == RejectProgress::kMalformed)
      break;
  }
  told.bytes = take_all(client.b.get());
  told.heard = rejection.heard();
  return told;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  if (input.choice(2) == 0) {
    open_session(input);
    return 0;
  }
  const Input pieces(data, std::min<std::size_t>(size, 32));
  const std::string_view all = input.bytes(60'000);
  const Told whole = turn_away(all, pieces, true);
  require(whole == turn_away(all, pieces, false),
          "pieces make no difference to who is turned away");
  return 0;
}
