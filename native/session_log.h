// SPDX-License-Identifier: MIT
// What one worker tells of its sessions while somebody wants to know (the log level is
// debug): a ring with one writer and one reader. What finds it full is counted.
//
// Owns: the ring; while it records, the addresses of the sessions there are.
// Threads: prepare() and take() the control plane's; all else the worker's.
// Invariants:
//  - neither side ever waits for the other;
//  - while it does not record, a session costs one test of a flag, and nothing is
//    remembered of it;
//  - the ring is allocated before the worker is told to record, and stays where it is.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "client_address.h"
#include "session.h"

namespace pg_gateway {

enum class SessionEventKind : std::uint8_t { kOpened, kEnded, kCut, kTurnedAway };

struct SessionEvent {
  SessionEventKind kind = SessionEventKind::kOpened;
  std::uint8_t reason = 0;  // an EndReason, CutReason or RejectReason, by the kind
  std::uint16_t server = 0;
  // Of the gateway's connection to the server: what pg_stat_activity.client_port tells. 0: none.
  std::uint16_t source_port = 0;
  ClientAddress client;
  std::int64_t duration_ns = 0;  // opened: of connecting; ended, cut: since then, and of that
  std::uint64_t bytes_up = 0;    // client to backend
  std::uint64_t bytes_down = 0;
};

struct SessionEvents {
  std::vector<SessionEvent> events;
  std::uint64_t lost = 0;  // found the ring full
};

class SessionLog {
 public:
  static constexpr std::uint32_t kCapacity = 1024;

  // The control plane's thread: allocates the ring. Idempotent.
  void prepare();
  // The control plane's thread: appends what was recorded since the last call, in its order.
  void take(SessionEvents& into);

  // The worker's thread, all that follow. prepare() has been called before the first `true`.
  void record(bool on);
  void came(std::uint32_t slot, const Session& session) {
    if (on_) remember(slot, session);
  }
  void opened(std::uint32_t slot, const Session& session) {
    if (on_) add(SessionEventKind::kOpened, 0, slot, session);
  }
  void ended(std::uint32_t slot, const Session& session, EndReason reason) {
    if (on_) add(SessionEventKind::kEnded, static_cast<std::uint8_t>(reason), slot, session);
  }
  void cut(std::uint32_t slot, const Session& session, CutReason reason) {
    if (on_) add(SessionEventKind::kCut, static_cast<std::uint8_t>(reason), slot, session);
  }
  void turned_away(std::uint32_t slot, const Session& session, RejectReason reason) {
    if (on_) add(SessionEventKind::kTurnedAway, static_cast<std::uint8_t>(reason), slot, session);
  }
  void push(const SessionEvent& event);

 private:
  // What cannot be asked of a socket any more when its session ends.
  struct Known {
    std::uint32_t generation = 0;
    std::uint16_t source_port = 0;
    ClientAddress client;
  };

  Known& remember(std::uint32_t slot, const Session& session);
  void add(SessionEventKind kind, std::uint8_t reason, std::uint32_t slot, const Session& session);

  bool on_ = false;
  std::vector<Known> known_;  // by slot; an entry of another generation is an earlier session's
  std::unique_ptr<std::array<SessionEvent, kCapacity>> ring_;
  // Events ever written and ever read; their difference is what is in the ring.
  std::atomic<std::uint32_t> written_{0};
  std::atomic<std::uint32_t> read_{0};
  std::atomic<std::uint64_t> lost_{0};
};

}  // namespace pg_gateway
