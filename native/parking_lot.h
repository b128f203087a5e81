// SPDX-License-Identifier: MIT
// Where copies of descriptors wait for the next process: messages with SCM_RIGHTS
// (unix(7)) in the queues of a few socket pairs, which the service manager keeps. Only
// the pairs are in its store; a session costs it nothing.
//
// A pair ("segment") is a queue: what is parked goes in at the end, and only the first
// can be taken out. A copy whose session has ended is dropped as soon as it is the first;
// when more than half of a segment is dead behind a living one, that one is parked anew
// at an end and then dropped. So a copy may be there twice for a moment, but never not.
//
// The size of a queue is bounded by the sender's buffer: some 550 messages with the usual
// net.core.wmem_max. When all segments are full there is one more.
//
// Owns: the pairs, and in memory the order of what is in them. Thread: the session
// store's lock guards it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fd.h"
#include "fd_store.h"
#include "ledger.h"

namespace pg_gateway {

enum class ParkedKind : std::uint8_t { kNone = 0, kSession = 1, kPipe = 2 };

// What travels with the descriptors and never changes. Its layout is part of
// Ledger::kVersion.
struct ParkedMessage {
  std::uint32_t version = Ledger::kVersion;
  ParkedKind kind = ParkedKind::kSession;
  std::uint8_t tcp_client = 1;
  std::uint16_t server = 0;    // of the connection to the backend
  std::uint32_t slot = 0;      // in the ledger
  std::uint32_t revision = 0;  // a later one of the same id replaces the earlier
  KeptId id = 0;
  std::int64_t opened_ns = 0;  // CLOCK_MONOTONIC
  std::uint32_t epoch = 0;     // of the connection to the backend
  std::uint32_t declined = 0;  // as in BackendFacts
};
static_assert(sizeof(ParkedMessage) == 40);

// Session: client, then backend if there is one. Pipe: read end, write end.
inline constexpr std::size_t kMaxParkedFds = 2;

// Which copy of something is the one that counts. Changes when it is parked anew.
using ParkingTicket = std::uint64_t;

class ParkingLot {
 public:
  // `send_buffer`: bytes of a segment's queue, which the kernel cuts to twice
  // net.core.wmem_max (socket(7)).
  explicit ParkingLot(FdStore& store, int send_buffer = 1 << 20)
      : store_(&store), send_buffer_(send_buffer) {}

  // Names of the two ends of a segment in the store: kPrefix + number + suffix.
  static constexpr const char* kPrefix = "lot-";
  static constexpr const char* kInSuffix = "-in";
  static constexpr const char* kOutSuffix = "-out";
  static constexpr std::uint32_t kMaxNumber = (1u << 24) - 2;

  // What is parked, as its owner knows it.
  class Residents {
   public:
    // Whether this copy is the one that counts.
    virtual bool lives(ParkedKind kind, std::uint32_t slot, ParkingTicket ticket) const = 0;
    // From now on the copy that counts is `to`.
    virtual void moved(ParkedKind kind, std::uint32_t slot, ParkingTicket to) = 0;

   protected:
    ~Residents() = default;
  };

  // Parks copies of the descriptors. Error: nothing is parked.
  Result<ParkingTicket> park(const ParkedMessage& message, const int* fds, std::size_t count);
  // Nothing can be parked, and for the moment nothing is tried: the store has refused.
  bool pauses() const;
  // A copy has died, by Residents' word. Clears up a little.
  void died(ParkingTicket ticket, Residents& residents);

  // Takes over a segment of an earlier process and shows every message in it, with new
  // copies of its descriptors; nothing is taken out. What is not one of our messages is not
  // shown. Error: it is no segment; it is given up.
  using Visit =
      std::function<void(const ParkedMessage&, ParkingTicket, std::array<UniqueFd, kMaxParkedFds>)>;
  SysError adopt(std::uint32_t number, UniqueFd in, UniqueFd out, const Visit& visit);
  // Gives up a segment of an earlier process, with all that is in it.
  void discard(std::uint32_t number);
  // Lets go of all segments and what is in them: number, and its two ends.
  std::map<std::uint32_t, std::pair<UniqueFd, UniqueFd>> release();
  // After all have been adopted: what does not live is dead.
  void settle(Residents& residents);

  std::size_t segments() const { return segments_.size(); }
  std::size_t messages() const;
  std::size_t dead() const;

 private:
  struct Entry {
    ParkingTicket ticket = 0;
    std::uint32_t slot = 0;
    ParkedKind kind = ParkedKind::kNone;
  };
  struct Segment {
    std::uint32_t number = 0;
    UniqueFd in;
    UniqueFd out;
    std::deque<Entry> entries;  // as they are in the queue
    std::uint32_t dead = 0;
    bool full = false;
    bool strange = false;  // there was something in it that is not ours
  };

  Result<ParkingTicket> append(Segment& segment, const ParkedMessage& message, const int* fds,
                               std::size_t count);
  SysError add_segment();
  void refused(const SysError& error);
  std::uint32_t free_number() const;
  // False: it is still there.
  bool drop_first(Segment& segment);
  bool move_first(Segment& segment, Residents& residents);
  // True if there may be more to do.
  bool tidy(Segment& segment, Residents& residents);
  void remove_surplus();
  ParkingTicket new_ticket(const Segment& segment);

  FdStore* store_;
  int send_buffer_;
  std::vector<std::unique_ptr<Segment>> segments_;  // what is parked goes to the first with room
  std::uint32_t next_number_ = 0;
  std::uint64_t next_serial_ = 1;
  unsigned refusals_ = 0;  // in a row
  SysError refused_;       // the last of them
  std::int64_t retry_ns_ = 0;
};

}  // namespace pg_gateway
