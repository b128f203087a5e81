// SPDX-License-Identifier: MIT
// The clients of a gateway and their servers: both ends of every session, which notice
// everything. Single-threaded, one poll(2) loop.
//
// Owns the conversations, and the listening socket of the servers. Nothing here asserts: fault()
// says what went wrong first.
#pragma once

#include <poll.h>

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "conversation.h"
#include "introduction.h"
#include "support.h"
#include "traffic.h"

namespace pg_gateway::test {

class Parties {
 public:
  // `introduced`: servers are told by a startup message who their client is; else by its first
  // bytes. `forgiving`: a session may end before its time, and is lost then.
  explicit Parties(bool introduced, bool forgiving = false)
      : introduced_(introduced), forgiving_(forgiving), servers_(listen_tcp()) {}

  SocketAddress server() const { return address_of(servers_.get()); }
  Conversation& add(UniqueFd client);
  Conversation& add(UniqueFd client, Introduction introduction);
  // So many requests for encryption are answered by a reset.
  void reset_requests(unsigned count) { resets_ = count; }
  // Whoever can do something does it. `others` are waited for too.
  void turn(std::vector<pollfd>& others, int timeout_ms);

  const std::deque<Conversation>& conversations() const { return conversations_; }
  std::size_t lost() const;
  // How many of them by the word of a server, where the gateway could not look at that.
  std::size_t turned_down() const;
  // Everything sent and received so far.
  std::uint64_t progress() const;
  // The first of what may never happen; empty: nothing.
  const std::string& fault() const { return fault_; }
  // Those that are not over, or lost.
  std::string text() const;

 private:
  // A server's end of a connection whose client is not known yet.
  struct Stranger {
    UniqueFd server;
    std::string id;
  };

  void meet_servers();
  void receive_guests();
  void listen_to_strangers();
  void fail(const std::string& what);

  const Streams streams_;
  const bool introduced_;
  const bool forgiving_;
  UniqueFd servers_;
  std::deque<Conversation> conversations_;
  std::vector<Stranger> strangers_;
  std::vector<Reception> receptions_;
  std::uint64_t connections_ = 0;
  unsigned resets_ = 0;
  std::string fault_;
};

}  // namespace pg_gateway::test
