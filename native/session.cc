// SPDX-License-Identifier: MIT
#include "session.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

namespace pg_gateway {

namespace {

bool allowed(SessionState from, SessionState to) {
  using S = SessionState;
  switch (from) {
    case S::kFree:
      return to == S::kSilent || to == S::kConnecting || to == S::kRejecting || to == S::kHeld ||
             to == S::kRelaying;
    case S::kSilent:
      return to == S::kConnecting || to == S::kHeld || to == S::kRejecting || to == S::kClosing;
    case S::kHeld:
      return to == S::kSilent || to == S::kConnecting || to == S::kRejecting || to == S::kClosing;
    case S::kConnecting:
      return to == S::kStarting || to == S::kRelaying || to == S::kHeld || to == S::kRejecting ||
             to == S::kClosing;
    case S::kStarting:
      return to == S::kRelaying || to == S::kConnecting || to == S::kHeld || to == S::kRejecting ||
             to == S::kClosing;
    case S::kRejecting:
      return to == S::kConnecting || to == S::kClosing;
    case S::kRelaying:
      return to == S::kClosing;
    case S::kClosing:
      return to == S::kFree;
  }
  return false;
}

}  // namespace

void Session::transition(SessionState to) {
  if (!allowed(state_, to)) std::abort();
  state_ = to;
}

void Session::begin(UniqueFd client_socket, bool tcp, const Kept& place) {
  client = std::move(client_socket);
  kept = place;
  up_ = Relay(tcp, pipe_owner(kept.id, Direction::kUp));
  down_ = Relay(true, pipe_owner(kept.id, Direction::kDown));
  epoch = 0;
  declined = 0;
  coalesced = {};
  tcp_client_ = tcp;
  client_gone_ = false;
  client_reset_ = false;
  backend_gone_ = false;
  end_reason = EndReason::kCount;
  reject_counted = false;
  last_deadline_ns = 0;
  held_since_ns = 0;
  hold_errno = 0;
  client_left = false;
  has_spoken = false;
  address = {};
  standing = Standing::kNone;
}

void Session::resume(std::array<Survivor::Way, 2>& ways) {
  for (const Direction direction : {Direction::kUp, Direction::kDown}) {
    Survivor::Way& way = ways[static_cast<std::size_t>(direction)];
    Relay& relay = direction == Direction::kUp ? up_ : down_;
    if (way.ended) {
      relay.resume_ended();
      // When both have ended there is nothing left that would say why.
      note_end(direction == Direction::kUp ? EndReason::kClientClosed : EndReason::kBackendClosed);
    }
    if (way.pipe != nullptr) relay.resume(std::move(way.pipe), way.residue);
  }
}

void Session::note_events(Side side, std::uint32_t events) {
  Relay& from_here = side == Side::kClient ? up_ : down_;
  Relay& to_here = side == Side::kClient ? down_ : up_;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    from_here.source_ready((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
  }
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) to_here.sink_ready();
  // Both directions of the socket are shut (EPOLLHUP, epoll_ctl(2)), and not by us: a reset, or
  // an AF_UNIX peer that closed. An idle relay would never find out.
  if ((events & EPOLLHUP) != 0 && !to_here.ended()) side_gone(side, (events & EPOLLERR) != 0);
}

// Nothing can be sent to `side` any more. What it said last (a server's farewell) may still be
// on its way: the other direction goes on to its end.
void Session::side_gone(Side side, bool reset) {
  if (side == Side::kClient) {
    client_gone_ = true;
    // A TCP socket is shut in both directions only by a reset.
    client_reset_ = reset || tcp_client_;
    note_end(client_reset_ ? EndReason::kClientReset : EndReason::kClientClosed);
    down_.abandon();
    up_.source_ready(true);
  } else {
    backend_gone_ = true;
    note_end(EndReason::kBackendReset);
    up_.abandon();
    down_.source_ready(true);
  }
}

// One turn of the relay whose source is on `side`.
void Session::pump(Side side, PipePool& pool, WorkerCounters& counters, SessionProgress& progress) {
  const bool is_up = side == Side::kClient;
  Relay& relay = is_up ? up_ : down_;
  Relay& opposite = is_up ? down_ : up_;
  const int source = is_up ? client.get() : backend.get();
  const int sink = is_up ? backend.get() : client.get();

  const std::uint64_t before = relay.delivered();
  const PumpResult result = relay.pump(source, sink, pool);
  if (const std::uint64_t moved = relay.delivered() - before; moved > 0) {
    (is_up ? counters.bytes_client_to_backend : counters.bytes_backend_to_client).add(moved);
  }
  const bool failed = result == PumpResult::kSourceFailed || result == PumpResult::kSinkFailed;
  if (failed && out_of_resources(relay.last_errno())) {
    // What one side has said cannot be moved to the other any more: whichever has ended by
    // itself, this is what the rest is lost by.
    end_reason = EndReason::kResources;
    relay.abandon();
    opposite.abandon();
    return;
  }
  switch (result) {
    case PumpResult::kWaiting:
      break;
    case PumpResult::kMore:
      progress = SessionProgress::kMore;
      break;
    case PumpResult::kNoPipe:
      if (progress == SessionProgress::kWaiting) progress = SessionProgress::kStarved;
      break;
    case PumpResult::kEnd:
      note_end(is_up ? EndReason::kClientClosed : EndReason::kBackendClosed);
      break;
    case PumpResult::kSourceFailed:
      // All it sent before has been passed on, and nothing can be said to it any more.
      note_end(is_up ? EndReason::kClientReset : EndReason::kBackendReset);
      relay.abandon();
      opposite.abandon();
      break;
    case PumpResult::kSinkFailed:
      side_gone(is_up ? Side::kBackend : Side::kClient, relay.last_errno() != EPIPE);
      break;
  }
}

SessionProgress Session::relay_answer(PipePool& pool, WorkerCounters& counters) {
  SessionProgress progress = SessionProgress::kWaiting;
  down_.source_ready(false);
  pump(Side::kBackend, pool, counters, progress);
  return up_.ended() && down_.ended() ? SessionProgress::kOver : progress;
}

SessionProgress Session::relay(PipePool& pool, WorkerCounters& counters) {
  SessionProgress progress = SessionProgress::kWaiting;
  if (up_.runnable()) pump(Side::kClient, pool, counters, progress);
  if (down_.runnable()) pump(Side::kBackend, pool, counters, progress);
  // The second pump may have found its sink dead and so woken the first relay.
  if (down_.ended() && up_.runnable() && progress == SessionProgress::kWaiting) {
    pump(Side::kClient, pool, counters, progress);
  }
  // What a client sent before its reset is passed on as far as the backend takes it at once: the
  // backend may itself be waiting for us to read, which would have no end.
  if (client_reset_ && progress == SessionProgress::kWaiting) up_.abandon();
  return up_.ended() && down_.ended() ? SessionProgress::kOver : progress;
}

void Session::shut_down(Side side) {
  const UniqueFd& socket = side == Side::kClient ? client : backend;
  if (socket.valid()) ::shutdown(socket.get(), SHUT_RDWR);
}

void Session::release_backend() {
  shut_down(Side::kBackend);
  backend.reset();
}

void Session::release_sockets() {
  client.reset();
  backend.reset();
  up_.abandon();
  down_.abandon();
}

}  // namespace pg_gateway
