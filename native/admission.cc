// SPDX-License-Identifier: MIT
#include "admission.h"

#include <sys/random.h>

#include <cstring>

#include "fd.h"

namespace pg_gateway {

namespace {

std::uint64_t make_secret() {
  std::uint64_t secret = 0;
  // Early in the life of a machine there may be none yet: the clock is hard to guess too.
  if (::getrandom(&secret, sizeof secret, GRND_NONBLOCK) != ssize_t{sizeof secret}) {
    secret = static_cast<std::uint64_t>(monotonic_ns());
  }
  return secret;
}

// Above every id of the store (Ledger::kMaxId). Another process most probably begins elsewhere, so
// that an id that somebody has noted is nobody else's there.
std::uint64_t first_id() {
  constexpr std::uint64_t kAboveTheStore = std::uint64_t{1} << 40;
  constexpr unsigned kApart = 20;  // a million clients, as a power of two
  constexpr std::uint64_t kBeginnings = std::uint64_t{1} << 24;
  return kAboveTheStore + (make_secret() % kBeginnings << kApart);
}

// The finisher of SplitMix64: every bit of the result depends on every bit of the value.
std::uint64_t mix(std::uint64_t value) {
  value = (value ^ value >> 30) * 0xbf58'476d'1ce4'e5b9;
  value = (value ^ value >> 27) * 0x94d0'49bb'1331'11eb;
  return value ^ value >> 31;
}

}  // namespace

std::size_t Admission::Hash::operator()(const ClientAddress::Host& host) const {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  std::memcpy(&high, host.data(), sizeof high);
  std::memcpy(&low, host.data() + sizeof high, sizeof low);
  return mix(mix(high ^ secret) ^ low);
}

Admission::Admission() : next_id_(first_id()), hosts_(0, Hash{make_secret()}) {}

void Admission::accepted(const Limits& limits) {
  if (limits.per_second != 0) (void)pace_.claim(monotonic_ns(), limits.per_second);
}

Admitted Admission::enter(const ClientAddress& client, const Limits& limits) {
  if (clients_.fetch_add(1, std::memory_order_relaxed) >= limits.clients) {
    clients_.fetch_sub(1, std::memory_order_relaxed);
    return Admitted::kTooMany;
  }
  if (enter_host(client, limits.of_one_host)) return Admitted::kYes;
  clients_.fetch_sub(1, std::memory_order_relaxed);
  return Admitted::kTooManyOfOneHost;
}

void Admission::readmit(const ClientAddress& client) {
  clients_.fetch_add(1, std::memory_order_relaxed);
  (void)enter_host(client, 0);
}

// Counted whether there is a limit or not: it may be set while they are here.
bool Admission::enter_host(const ClientAddress& client, std::uint32_t limit) {
  const std::optional<ClientAddress::Host> host = client.host();
  if (!host.has_value()) return true;
  const std::lock_guard lock(mutex_);
  const auto [entry, is_new] = hosts_.try_emplace(*host, 0);
  if (limit != 0 && entry->second >= limit) return false;
  ++entry->second;
  return true;
}

void Admission::leave(const ClientAddress& client) {
  clients_.fetch_sub(1, std::memory_order_relaxed);
  const std::optional<ClientAddress::Host> host = client.host();
  if (!host.has_value()) return;
  const std::lock_guard lock(mutex_);
  const auto entry = hosts_.find(*host);
  if (entry != hosts_.end() && --entry->second == 0) hosts_.erase(entry);
}

bool Admission::begin_telling() {
  if (told_.fetch_add(1, std::memory_order_relaxed) < kMostTold) return true;
  end_telling();
  return false;
}

}  // namespace pg_gateway
