// SPDX-License-Identifier: MIT
// One client's session: its socket, the backend's socket, a relay each way.
//
// Owns: both sockets, the relays, the rejection. Thread: its worker's.
//
//   from        to          when
//   kFree       kConnecting a client came and there is a route
//   kFree       kRejecting  a client came and there is none
//   kConnecting kRelaying   the backend accepted
//   kConnecting kRejecting  it did not, or its route was withdrawn on proof
//   kConnecting kClosing    the client went away
//   kRelaying   kClosing    both directions ended, one failed, or it was cut
//   kRejecting  kClosing    the client was answered and left, or its time is over
//   kClosing    kFree       reaped at the end of the loop's turn
//
// A connect that is started again because the route moved stays in kConnecting.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "counters.h"
#include "fd.h"
#include "rejection.h"
#include "relay.h"

namespace pg_gateway {

enum class SessionState : std::uint8_t { kFree, kConnecting, kRelaying, kRejecting, kClosing };

enum class SessionProgress : std::uint8_t {
  kWaiting,  // an edge will come
  kMore,     // give it another turn
  kStarved,  // it needs a pipe and there is none
  kOver,     // close it; end_reason says why
};

enum class Side : std::uint8_t { kClient = 0, kBackend = 1 };

class Session {
 public:
  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  SessionState state() const { return state_; }
  // The only place where the state changes. A move that the table above does not
  // have is a fault of this program: it aborts.
  void transition(SessionState to);

  // Makes a free session that of `client`. `tcp`: the socket is TCP, not AF_UNIX.
  void begin(UniqueFd client_socket, bool tcp);
  // An epoll event of a relaying or connecting session, without moving a byte.
  void note_events(Side side, std::uint32_t events);
  // Moves what can be moved, in both directions.
  [[nodiscard]] SessionProgress relay(PipePool& pool, WorkerCounters& counters);
  // Lets go of the sockets, after shutdown(2): copies of a descriptor may exist
  // elsewhere, and while one does, close(2) alone sends no FIN.
  void release_sockets();
  void release_backend();

  UniqueFd client;
  UniqueFd backend;
  std::unique_ptr<Rejection> rejection;
  std::int64_t connect_started_ns = 0;
  std::int64_t deadline_ns = 0;  // of connecting or rejecting
  std::uint32_t generation = 0;  // told apart in epoll data from the slot's earlier sessions
  std::uint32_t epoch = 0;
  std::uint16_t server = 0;
  bool queued = false;  // in the worker's run queue
  bool reject_counted = false;
  RejectReason reject_reason = RejectReason::kNoPrimary;
  EndReason end_reason = EndReason::kCount;

 private:
  void pump(Side source_side, PipePool& pool, WorkerCounters& counters, SessionProgress& progress);
  void note_end(EndReason reason) {
    if (end_reason == EndReason::kCount) end_reason = reason;
  }

  Relay up_;    // client to backend
  Relay down_;  // backend to client
  SessionState state_ = SessionState::kFree;
};

}  // namespace pg_gateway
