// SPDX-License-Identifier: MIT
// One client's session: its socket, the backend's socket, a relay each way.
//
// Owns: both sockets, the relays, the rejection. Thread: its worker's.
//
//   from        to          when
//   kFree       kConnecting a client came and there is a route
//   kFree       kSilent     likewise, and it has not said yet what it wants
//   kFree       kHeld       a client came and must wait: for a route, or behind others
//   kFree       kRejecting  it cannot even wait
//   kFree       kRelaying   taken up from an earlier process
//   kHeld       kConnecting there is a route, and it is its turn
//   kHeld       kSilent     likewise, and it has not said yet what it wants
//   kHeld       kRejecting  it has waited long enough
//   kHeld       kClosing    the client went away
//   kSilent     kConnecting it has said what it wants
//   kSilent     kHeld       likewise, and must wait
//   kSilent     kRejecting  likewise, and cannot even wait
//   kSilent     kClosing    the client went away, was silent for too long, or speaks no PostgreSQL
//   kConnecting kStarting   the backend accepted, and the client may be given another still
//   kConnecting kRelaying   the backend accepted
//   kStarting   kRelaying   the backend has answered the client's startup message
//   kStarting   kConnecting its route was withdrawn on proof, and there is another
//   kStarting   kHeld       the backend serves nobody now, or its route was withdrawn on proof
//   kStarting   kRejecting  likewise, and it cannot wait (any longer)
//   kStarting   kClosing    the client went away, or is one too many, and its time is over
//   kConnecting kHeld       it did not, or its route was withdrawn on proof
//   kConnecting kRejecting  likewise, and it cannot wait (any longer)
//   kConnecting kClosing    the client went away, or is one too many, and its time is over
//   kRelaying   kClosing    both directions ended, one failed, it was cut, or its time is over
//   kRejecting  kConnecting it was one too many, and only asks to cancel another's query: for no
//                           longer than it would have been told to leave
//   kRejecting  kClosing    the client was answered and left, or its time is over
//   kClosing    kFree       reaped at the end of the loop's turn
//
// A connect that is started again because the route moved stays in kConnecting.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "client_address.h"
#include "counters.h"
#include "fd.h"
#include "opening.h"
#include "rejection.h"
#include "relay.h"
#include "session_store.h"

namespace pg_gateway {

enum class SessionState : std::uint8_t {
  kFree,
  kSilent,
  kHeld,
  kConnecting,
  kStarting,
  kRelaying,
  kRejecting,
  kClosing
};

// It is being given a server, and nothing that the client has said is lost with that one.
constexpr bool wants_server(SessionState state) {
  return state == SessionState::kConnecting || state == SessionState::kStarting;
}

enum class SessionProgress : std::uint8_t {
  kWaiting,  // an edge will come
  kMore,     // give it another turn
  kStarved,  // it needs a pipe and there is none
  kOver,     // close it; end_reason says why
};

// As what its worker has counted the client (admission.h).
enum class Standing : std::uint8_t { kNone, kAdmitted, kBeingTold };

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
  void begin(UniqueFd client_socket, bool tcp, const Kept& place);
  // Makes a free session go on where an earlier process was. Its backend is connected.
  void resume(std::array<Survivor::Way, 2>& ways);
  // An epoll event of a relaying session, or of the client of a connecting one, without
  // moving a byte.
  void note_events(Side side, std::uint32_t events);
  // Moves what the backend has said. kStarved: for want of a pipe it is still there.
  [[nodiscard]] SessionProgress relay_answer(PipePool& pool, WorkerCounters& counters);
  // The backend got so many of the client's bytes as a copy (opening.h).
  void count_passed_on(std::uint32_t bytes, WorkerCounters& counters) {
    up_.count_passed_on(bytes);
    if (bytes > 0) counters.bytes_client_to_backend.add(bytes);
  }
  // Moves what can be moved, in both directions.
  [[nodiscard]] SessionProgress relay(PipePool& pool, WorkerCounters& counters);
  // One side is gone, and what it said last is still on its way to the other.
  bool taking_farewell() const {
    return (backend_gone_ && !down_.ended()) || (client_gone_ && !up_.ended());
  }
  // A bulk transfer runs from `source` to the other side.
  bool in_bulk(Side source) const { return (source == Side::kClient ? up_ : down_).in_bulk(); }
  // Whether the last turn had something to do in this direction.
  bool take_pumped(Side source) { return (source == Side::kClient ? up_ : down_).take_pumped(); }
  // There may be something to read that no event will tell of.
  void look_again(Side source) { (source == Side::kClient ? up_ : down_).look_again(); }
  bool tcp_client() const { return tcp_client_; }
  std::uint64_t delivered() const { return up_.delivered() + down_.delivered(); }
  std::uint64_t delivered_up() const { return up_.delivered(); }
  std::uint64_t delivered_down() const { return down_.delivered(); }
  // shutdown(2): copies of a descriptor may exist elsewhere, and while one does, close(2) alone
  // sends no FIN.
  void shut_down(Side side);
  // Lets go of the sockets, which have been shut down.
  void release_sockets();
  void release_backend();

  UniqueFd client;
  UniqueFd backend;
  Kept kept;
  ClientAddress address;
  // By which the session is known outside; the same in the next process. Never given twice.
  std::uint64_t id = 0;
  std::int64_t opened_ns = 0;  // when the client came, to an earlier process perhaps
  Standing standing = Standing::kNone;
  Opening opening;  // in kStarting
  std::unique_ptr<Rejection> rejection;
  std::int64_t connect_started_ns = 0;
  std::int64_t deadline_ns = 0;  // of silence, waiting, connecting, rejecting, a farewell; 0: none
  // Of one too many that is passed on all the same: none of its deadlines is later; 0: it is none.
  std::int64_t last_deadline_ns = 0;
  std::int64_t held_since_ns = 0;  // when it began to wait for a server; 0: it never had to
  std::uint32_t generation = 0;    // told apart in epoll data from the slot's earlier sessions
  // Told apart in epoll data from the backend sockets this slot had before. Only grows.
  std::uint32_t attempt = 0;
  std::uint64_t farewell_mark = 0;  // delivered() when the deadline of a farewell was set
  std::uint32_t epoch = 0;
  // The client has asked for encryption so often, and was told that there is none.
  std::uint32_t declined = 0;
  // HoldQueue's.
  std::uint32_t before_in_hold = 0;
  std::uint32_t behind_in_hold = 0;
  int hold_errno = 0;  // of the connect that failed last; 0: none did
  std::uint16_t server = 0;
  std::uint16_t backend_family = 0;
  // By side: its socket has a low-water mark (bulk_flows.h).
  std::array<bool, 2> coalesced{};
  bool queued = false;  // in the worker's run queue
  bool reject_counted = false;
  bool has_spoken = false;   // it has sent its startup message, or was seen to
  bool client_left = false;  // it has hung up, or will say nothing more, before it had a server
  RejectReason reject_reason = RejectReason::kNoPrimary;
  EndReason end_reason = EndReason::kCount;

 private:
  void pump(Side source_side, PipePool& pool, WorkerCounters& counters, SessionProgress& progress);
  void side_gone(Side side, bool reset);
  void note_end(EndReason reason) {
    if (end_reason == EndReason::kCount) end_reason = reason;
  }

  Relay up_;    // client to backend
  Relay down_;  // backend to client
  SessionState state_ = SessionState::kFree;
  bool tcp_client_ = true;
  // Nothing can be sent to that side any more.
  bool client_gone_ = false;
  bool client_reset_ = false;
  bool backend_gone_ = false;
};

}  // namespace pg_gateway
