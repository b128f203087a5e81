// SPDX-License-Identifier: MIT
// What the targets share: one input read from its front, number by number, and what they say
// when a property does not hold. Where the input ends, all that follows is 0.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace pg_gateway::fuzz {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size)
      : rest_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return rest_.empty(); }
  std::string_view bytes(std::size_t most) {
    const std::string_view taken = rest_.substr(0, most);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  template <typename Number>
  Number number() {
    Number value{};
    const std::string_view taken = bytes(sizeof value);
    if (!taken.empty()) std::memcpy(&value, taken.data(), taken.size());
    return value;
  }
  // 0 .. below - 1
  std::size_t choice(std::size_t below) { return number<std::uint8_t>() % below; }

 private:
  std::string_view rest_;
};

// libFuzzer keeps the input that a process died of.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

}  // namespace pg_gateway::fuzz
