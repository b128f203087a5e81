// SPDX-License-Identifier: MIT
// The first exchange of a session as PostgreSQL has it: what a client says before its session
// begins, and what the servers make of it that it is sent to, one after the other.
//
// Nothing here asserts.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "fd.h"

namespace pg_gateway::test {

class Conversation;

// What a server that refuses says.
inline constexpr std::string_view kRefusal = "the database system is going";

// What a server does with a startup message.
enum class Manner : std::uint8_t {
  kWelcome,     // lets the client in, in pieces
  kRefuse,      // cannot connect now; then a FIN
  kRefuseLate,  // in pieces, the first of which are a welcome
  kReset,
  kHangUp,  // a FIN without a word
  kSilent,  // waits until it is given up
};

struct Introduction {
  std::string requests = {};         // "GS": asks for GSS encryption, and then for SSL
  std::size_t startup_bytes = 64;    // of the startup message
  std::vector<Manner> manners = {};  // of its servers; those that come later let it in
};

// The messages of a client; the last one is its startup message, which has its id.
std::vector<std::string> messages_of(std::uint32_t id, const Introduction& introduction);
// What the server says that is the client's n-th.
std::string welcome(std::uint32_t id, std::uint32_t server);

// A server's end of a connection until it has let its client in, which declines every request for
// encryption. Owns the socket.
class Reception {
 public:
  enum class Progress : std::uint8_t { kWaiting, kGone, kLetIn };

  // `place`: how many connections came before it.
  Reception(UniqueFd socket, std::uint64_t place) : socket_(std::move(socket)), place_(place) {}
  int fd() const { return socket_.get(); }
  // Does what it can. `resets`: so many requests for encryption are answered by a reset.
  Progress step(std::deque<Conversation>& all, unsigned& resets);
  // In kLetIn.
  Conversation& guest() const { return *guest_; }
  UniqueFd take_socket() { return std::move(socket_); }
  // Empty, or what may never happen.
  const std::string& fault() const { return fault_; }

 private:
  Progress listen(std::deque<Conversation>& all, unsigned& resets);
  Progress recognise(std::deque<Conversation>& all);
  Progress answer();
  Progress part();
  Progress left(const char* how);
  Progress broken(const std::string& what);

  UniqueFd socket_;
  std::uint64_t place_;
  std::string heard_;     // of the present message
  std::string requests_;  // that it was asked for, as in Introduction
  Conversation* guest_ = nullptr;
  Manner manner_ = Manner::kWelcome;
  std::deque<std::string> pieces_;
  std::int64_t next_piece_ns_ = 0;
  std::string fault_;
};

}  // namespace pg_gateway::test
