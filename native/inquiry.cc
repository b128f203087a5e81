// SPDX-License-Identifier: MIT
#include "inquiry.h"

// <netinet/tcp.h> has a tcp_info without the byte counts, and cannot be included beside it.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "listener.h"

namespace pg_gateway {

namespace {

// By what the kernel has counted at the server's side of a session: bytes that an earlier process
// has relayed count too.
void ask_kernel(int backend, SessionFacts& facts) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(backend, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return;
  facts.idle_ms = std::min(info.tcpi_last_data_sent, info.tcpi_last_data_recv);
  // The SYN is among what was acknowledged.
  if (info.tcpi_bytes_acked > 0) facts.bytes_up = info.tcpi_bytes_acked - 1;
  facts.bytes_down = info.tcpi_bytes_received;
}

// Of two that came in one moment the one with the lower id.
bool is_older(const SessionFacts& one, const SessionFacts& other) {
  if (one.opened_ns != other.opened_ns) return one.opened_ns < other.opened_ns;
  return one.id < other.id;
}

}  // namespace

void SessionListing::add(const SessionFacts& facts) {
  count();
  const std::lock_guard lock(mutex_);
  if (found_.size() == limit_) {
    if (limit_ == 0 || !is_older(facts, found_.front())) return;
    std::pop_heap(found_.begin(), found_.end(), is_older);
    found_.back() = facts;
  } else {
    found_.push_back(facts);
  }
  std::push_heap(found_.begin(), found_.end(), is_older);
  if (found_.size() == limit_) {
    youngest_ns_.store(found_.front().opened_ns, std::memory_order_relaxed);
  }
}

std::vector<const SessionFacts*> SessionListing::oldest_first() const {
  std::vector<const SessionFacts*> ordered;
  ordered.reserve(found_.size());
  for (const SessionFacts& facts : found_) ordered.push_back(&facts);
  std::sort(ordered.begin(), ordered.end(), [](const SessionFacts* one, const SessionFacts* other) {
    return is_older(*one, *other);
  });
  return ordered;
}

KillOrder::KillOrder(std::vector<std::uint64_t> ids, std::uint32_t number, Told told, void* context)
    : Inquiry(number, told, context), ids_(std::move(ids)) {
  std::sort(ids_.begin(), ids_.end());
}

bool KillOrder::names(std::uint64_t id) const {
  return std::binary_search(ids_.begin(), ids_.end(), id);
}

void KillOrder::add(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  killed_.push_back(id);
}

bool may_match(const SessionFilter& filter, const Session& session) {
  switch (session.state()) {
    case SessionState::kSilent:
    case SessionState::kHeld:
      // It has no server.
      if (filter.server.has_value() || filter.source_port != 0 || filter.idle_ms > 0) return false;
      break;
    case SessionState::kConnecting:
    case SessionState::kStarting:
    case SessionState::kRelaying:
      if (filter.server.has_value() && session.server != *filter.server) return false;
      break;
    case SessionState::kFree:
    case SessionState::kRejecting:
    case SessionState::kClosing:
      return false;
  }
  if (filter.unix_clients && session.address.family != AF_UNIX) return false;
  if (filter.client.has_value() && session.address.host() != filter.client) return false;
  return filter.client_port == 0 || session.address.port == filter.client_port;
}

SessionFacts facts_of(const Session& session, std::int64_t now_ns) {
  SessionFacts facts;
  facts.id = session.id;
  facts.state = session.state();
  facts.client = session.address;
  facts.server = session.server;
  facts.opened_ns = session.opened_ns;
  facts.age_ns = now_ns - session.opened_ns;
  facts.bytes_up = session.delivered_up();
  facts.bytes_down = session.delivered_down();
  if (session.state() == SessionState::kHeld || !session.backend.valid()) return facts;
  if (Result<std::uint16_t> port = local_port(session.backend.get()); port.ok()) {
    facts.source_port = port.take();
  }
  // Before the server has answered its SYN nothing ever came or went.
  if (session.state() != SessionState::kConnecting) ask_kernel(session.backend.get(), facts);
  return facts;
}

bool matches(const SessionFilter& filter, const SessionFacts& facts) {
  if (filter.source_port != 0 && facts.source_port != filter.source_port) return false;
  return facts.idle_ms >= filter.idle_ms || filter.idle_ms == 0;
}

}  // namespace pg_gateway
