// SPDX-License-Identifier: MIT
// The two ends of a session by a random script (interleaving.h): their sockets, and what each does.
//
// Own their sockets. Nothing here asserts.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "fd.h"

namespace pg_gateway::test {

// splitmix64: small, and the same everywhere.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t mixed = state_ += 0x9e37'79b9'7f4a'7c15;
    mixed = (mixed ^ mixed >> 30) * 0xbf58'476d'1ce4'e5b9;
    mixed = (mixed ^ mixed >> 27) * 0x94d0'49bb'1331'11eb;
    return mixed ^ mixed >> 31;
  }
  // 0 .. below - 1
  std::uint32_t upto(std::uint32_t below) { return static_cast<std::uint32_t>(next() % below); }
  bool one_in(std::uint32_t n) { return upto(n) == 0; }
  // Bytes of one call: few as often as many.
  std::uint32_t amount();

 private:
  std::uint64_t state_;
};

class Interleaving;

// One end of a session: its socket, and what it does.
struct End {
  enum class Act : std::uint8_t { kWrite, kRead, kStall, kFin, kReset };
  struct Step {
    Act act;
    std::uint32_t amount;
  };
  UniqueFd socket;
  std::deque<Step> script;
  std::uint32_t stalled = 0;   // turns in which it does nothing
  std::uint64_t sent = 0;      // of its stream
  std::uint64_t received = 0;  // of the other's
  bool fin_sent = false;
  bool ended = false;    // the other's end has been seen
  bool aborted = false;  // it has reset the connection
  bool deaf = false;     // nothing can be sent to the other any more

  bool over() const { return aborted || (ended && (fin_sent || deaf)); }
  void abort();
  void write_script(Dice& dice, bool may_break_off);
};

// A connection to a server.
struct ServerEnd {
  enum class Manner : std::uint8_t { kWelcome, kRefuse, kReset, kHangUp };

  ServerEnd(UniqueFd connection, std::uint32_t of_epoch) : epoch(of_epoch) {
    end.socket = std::move(connection);
  }
  End end;
  std::uint32_t epoch;
  std::string heard;                // of the message that it reads
  std::string requests;             // for encryption, all declined
  Interleaving* session = nullptr;  // once its startup message is there
  std::uint32_t attempt = 0;        // the session's n-th server
  Manner manner = Manner::kWelcome;
  std::string to_say;  // before its stream

  enum class Heard : std::uint8_t { kNothing, kSomething, kStartup, kNonsense };
  // Reads a piece of what a client says before its session begins; declines encryption.
  Heard hear(Dice& dice);
  // Of the startup message; 0: it has none.
  std::uint32_t client_id() const;
};

}  // namespace pg_gateway::test
