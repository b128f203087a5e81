// SPDX-License-Identifier: MIT
// Sessions that an earlier process has left on a shelf, made without one: connected, with bytes
// in pipes, parked. And what they may do in the next engine: go on without a wrong byte, or end.
//
// Owns the clients' and the servers' ends. Nothing here asserts.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "fd.h"
#include "session_store.h"
#include "shelf.h"
#include "support.h"

namespace pg_gateway::test {

class KeptSessions {
 public:
  // In each pipe there are so many: as many of one session as of another.
  static constexpr std::size_t kInPipe = 3000;

  // What the sessions are like: nothing in pipes; bytes on their way up; down; both; the client
  // is an AF_UNIX one, nothing, or both.
  enum class Kind : std::uint8_t { kIdle, kUp, kDown, kBoth, kUnixIdle, kUnixBoth };
  static constexpr std::size_t kKinds = 6;

  // One of each kind, on the shelf. `behind_first`: what else happens once the first is parked.
  explicit KeptSessions(
      Shelf& shelf, const std::function<void()>& behind_first = [] {});

  // Both ends of each say something more, and get all that is theirs or the end of the stream.
  // The text of what went wrong, or nothing. `survived`: by kind.
  std::string go_on(bool (&survived)[kKinds]);
  // The client of that kind goes away: its session does not survive.
  void hang_up(Kind kind) { sessions_[static_cast<std::size_t>(kind)].client.reset(); }

 private:
  struct Ends {
    UniqueFd client;
    UniqueFd server;
    std::string up;  // what the server has yet to get
    std::string down;
    std::uint32_t said = 0;
  };
  void add(SessionStore& store, PipePool& pool, Kind kind);
  static void stop_on_the_way(PipePool& pool, int from, int to, std::uint64_t owner,
                              std::deque<std::unique_ptr<Pipe>>& pipes);
  // False: it ended.
  static bool get(int socket, const std::string& expected, std::string& problem);

  std::deque<Ends> sessions_;
  std::deque<std::unique_ptr<Pipe>> pipes_;
};

}  // namespace pg_gateway::test
