// SPDX-License-Identifier: MIT
#include "traffic.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "support.h"

namespace pg_gateway::test {

namespace {

constexpr std::size_t kPatternBytes = 1'000'003;
constexpr std::size_t kMaxChunk = 32 * 1024;

// The two directions of a connection are different streams.
std::uint32_t seed_of(std::uint32_t id, bool from_client) {
  return id * 2 + (from_client ? 1 : 0);
}

}  // namespace

Streams::Streams() : pattern_(pattern_bytes(kPatternBytes)) {}

std::string_view Streams::chunk(std::uint32_t seed, std::size_t at, std::size_t most) const {
  const std::size_t from = (std::size_t{seed} * 7919 + at) % pattern_.size();
  return std::string_view(pattern_).substr(from, most);
}

Endpoint Endpoint::client(UniqueFd socket, std::uint32_t id, std::size_t to_send) {
  Endpoint endpoint;
  endpoint.socket_ = std::move(socket);
  endpoint.is_client_ = true;
  endpoint.id_ = id;
  endpoint.random_state_ = id + 1;
  endpoint.to_send_ = to_send;
  std::array<char, kIdBytes> bytes{};
  std::memcpy(bytes.data(), &id, sizeof id);
  endpoint.failed_ = !send_all(endpoint.fd(), {bytes.data(), bytes.size()});
  endpoint.sent_ = kIdBytes;
  return endpoint;
}

Endpoint Endpoint::backend(UniqueFd socket, std::size_t to_send) {
  Endpoint endpoint;
  endpoint.socket_ = std::move(socket);
  endpoint.random_state_ = static_cast<std::uint32_t>(endpoint.fd()) * 2654435761U | 1U;
  endpoint.to_send_ = to_send;
  return endpoint;
}

std::size_t Endpoint::random(std::size_t most) {
  random_state_ ^= random_state_ << 13;
  random_state_ ^= random_state_ >> 17;
  random_state_ ^= random_state_ << 5;
  // Small chunks as often as large ones.
  const std::size_t limit = (random_state_ & 1) != 0 ? 64 : most;
  return 1 + (random_state_ >> 8) % limit;
}

short Endpoint::wanted_events() const {
  short events = 0;
  if (!ended_) events |= POLLIN;
  const bool knows_itself = is_client_ || id_bytes_.size() == kIdBytes;
  if (!finished_sending_ && knows_itself) events |= POLLOUT;
  return events;
}

void Endpoint::step(const Streams& streams, short events) {
  if ((events & (POLLIN | POLLHUP | POLLERR)) != 0 && !ended_) receive_some(streams);
  if ((events & POLLOUT) != 0 && !finished_sending_) send_some(streams);
}

void Endpoint::send_some(const Streams& streams) {
  const std::size_t at = sent_ - (is_client_ ? kIdBytes : 0);
  if (at == to_send_) {
    send_fin(fd());
    finished_sending_ = true;
    return;
  }
  const std::string_view chunk =
      streams.chunk(seed_of(id_, is_client_), at, std::min(to_send_ - at, random(kMaxChunk)));
  const ssize_t count = ::send(fd(), chunk.data(), chunk.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (count > 0) {
    sent_ += static_cast<std::uint64_t>(count);
  } else if (errno != EAGAIN) {
    failed_ = true;
  }
}

void Endpoint::receive_some(const Streams& streams) {
  std::array<char, kMaxChunk> buffer;
  const bool learning = !is_client_ && id_bytes_.size() < kIdBytes;
  const std::size_t most = learning ? kIdBytes - id_bytes_.size() : random(buffer.size());
  const ssize_t count = ::recv(fd(), buffer.data(), most, MSG_DONTWAIT);
  if (count < 0) {
    failed_ = failed_ || errno != EAGAIN;
    return;
  }
  if (count == 0) {
    ended_ = true;
    return;
  }
  std::string_view got(buffer.data(), static_cast<std::size_t>(count));
  std::size_t at = received_ - (is_client_ || received_ == 0 ? 0 : kIdBytes);
  received_ += got.size();
  if (learning) {
    id_bytes_ += got;
    if (id_bytes_.size() == kIdBytes) std::memcpy(&id_, id_bytes_.data(), sizeof id_);
    return;
  }
  while (!got.empty() && !failed_) {
    const std::string_view expected = streams.chunk(seed_of(id_, !is_client_), at, got.size());
    failed_ = got.substr(0, expected.size()) != expected;
    at += expected.size();
    got.remove_prefix(expected.size());
  }
}

bool run_traffic(std::vector<Endpoint>& endpoints, int patience_ms) {
  const Streams streams;
  const std::int64_t deadline = monotonic_ns() + std::int64_t{patience_ms} * 1'000'000;
  std::vector<pollfd> waiting(endpoints.size());
  for (;;) {
    bool all_done = true;
    for (std::size_t i = 0; i < endpoints.size(); ++i) {
      const Endpoint& endpoint = endpoints[i];
      if (endpoint.failed()) return false;
      all_done = all_done && endpoint.done();
      waiting[i] = {endpoint.done() ? -1 : endpoint.fd(), endpoint.wanted_events(), 0};
    }
    if (all_done) return true;
    if (monotonic_ns() > deadline) return false;
    ::poll(waiting.data(), waiting.size(), 100);
    for (std::size_t i = 0; i < endpoints.size(); ++i) {
      if (waiting[i].revents != 0) endpoints[i].step(streams, waiting[i].revents);
    }
  }
}

}  // namespace pg_gateway::test
