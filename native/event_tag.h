// SPDX-License-Identifier: MIT
// What epoll_event.data.u64 means here: generation (32 bits), slot (30), kind (2).
//
// Pure functions. A pointer would outlive what it points to; a generation cannot.
#pragma once

#include <cstdint>

namespace pg_gateway {

enum class EventKind : std::uint8_t { kClient = 0, kBackend = 1, kListener = 2, kMailbox = 3 };

struct EventTag {
  EventKind kind = EventKind::kClient;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;

  static constexpr std::uint32_t kMaxSlot = (1u << 30) - 1;

  constexpr std::uint64_t pack() const {
    return std::uint64_t{generation} << 32 | std::uint64_t{slot} << 2 |
           static_cast<std::uint64_t>(kind);
  }
  static constexpr EventTag unpack(std::uint64_t data) {
    return {static_cast<EventKind>(data & 3), static_cast<std::uint32_t>(data) >> 2,
            static_cast<std::uint32_t>(data >> 32)};
  }
};

}  // namespace pg_gateway
