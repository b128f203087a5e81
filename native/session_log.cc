// SPDX-License-Identifier: MIT
#include "session_log.h"

#include <sys/socket.h>

#include "listener.h"

namespace pg_gateway {

void SessionLog::prepare() {
  if (ring_ == nullptr) ring_ = std::make_unique<std::array<SessionEvent, kCapacity>>();
}

void SessionLog::take(SessionEvents& into) {
  std::uint32_t at = read_.load(std::memory_order_relaxed);
  const std::uint32_t end = written_.load(std::memory_order_acquire);
  for (; at != end; ++at) into.events.push_back((*ring_)[at % kCapacity]);
  read_.store(end, std::memory_order_release);
  into.lost += lost_.exchange(0, std::memory_order_relaxed);
}

void SessionLog::record(bool on) {
  on_ = on;
  if (!on) std::vector<Known>().swap(known_);
}

void SessionLog::push(const SessionEvent& event) {
  const std::uint32_t at = written_.load(std::memory_order_relaxed);
  if (at - read_.load(std::memory_order_acquire) == kCapacity) {
    lost_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  (*ring_)[at % kCapacity] = event;
  written_.store(at + 1, std::memory_order_release);
}

SessionLog::Known& SessionLog::remember(std::uint32_t slot, const Session& session) {
  if (slot >= known_.size()) known_.resize(slot + 1);
  Known& known = known_[slot];
  // Generations begin at 0, so a new entry may look like that session's: an address tells.
  if (known.generation != session.generation || known.client.family == AF_UNSPEC) {
    known = {session.generation, 0, client_address_of(session.client.get())};
  }
  return known;
}

void SessionLog::add(SessionEventKind kind, std::uint8_t reason, std::uint32_t slot,
                     const Session& session) {
  // Of a session from before the recording, what can still be asked is asked now.
  Known& known = remember(slot, session);
  SessionEvent event;
  event.kind = kind;
  event.reason = reason;
  event.client = known.client;
  if (kind == SessionEventKind::kTurnedAway) return push(event);
  if (known.source_port == 0 && session.backend.valid()) {
    if (Result<std::uint16_t> port = local_port(session.backend.get()); port.ok()) {
      known.source_port = port.take();
    }
  }
  event.server = session.server;
  event.source_port = known.source_port;
  event.duration_ns = monotonic_ns() - session.connect_started_ns;
  event.bytes_up = session.delivered_up();
  event.bytes_down = session.delivered_down();
  push(event);
}

}  // namespace pg_gateway
