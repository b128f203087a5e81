// SPDX-License-Identifier: MIT
#include "session_ends.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "pg_wire.h"
#include "support.h"

namespace pg_gateway::test {

namespace {

constexpr std::uint32_t kMostSteps = 12;
constexpr std::uint32_t kLongestStall = 30;

std::uint32_t number_at(const std::string& bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = at; i < at + 4; ++i) {
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  }
  return value;
}

}  // namespace

std::uint32_t Dice::amount() {
  constexpr std::array<std::uint32_t, 6> kMost = {4, 64, 64, 1500, 9000, 70'000};
  return 1 + upto(kMost[upto(kMost.size())]);
}

void End::abort() {
  reset_connection(socket);
  aborted = true;
}

void End::write_script(Dice& dice, bool may_break_off) {
  for (std::uint32_t left = dice.upto(kMostSteps); left > 0; --left) {
    switch (dice.upto(8)) {
      case 0:
      case 1:
      case 2:
        script.push_back({Act::kRead, dice.amount()});
        break;
      case 3:
        script.push_back({Act::kStall, dice.upto(kLongestStall)});
        break;
      default:
        script.push_back({Act::kWrite, dice.amount()});
        break;
    }
  }
  if (dice.one_in(3)) script.push_back({Act::kFin, 0});
  if (may_break_off && dice.one_in(6)) {
    // After or instead of what it would have done.
    const std::uint32_t at = dice.upto(static_cast<std::uint32_t>(script.size() + 1));
    script.insert(script.begin() + at, {Act::kReset, 0});
  }
}

ServerEnd::Heard ServerEnd::hear(Dice& dice) {
  std::array<char, kMaxStartupBytes> bytes;
  const std::size_t wanted =
      heard.size() < kStartupHeaderBytes ? kStartupHeaderBytes : number_at(heard, 0);
  if (wanted < kStartupHeaderBytes || wanted > bytes.size()) return Heard::kNonsense;
  const std::size_t most = std::min<std::size_t>(dice.amount(), wanted - heard.size());
  const ssize_t count = ::recv(end.socket.get(), bytes.data(), most, MSG_DONTWAIT);
  if (count < 0 && errno == EAGAIN) return Heard::kNothing;
  if (count <= 0) {
    // Its client has gone, or was moved to another server.
    end.ended = end.deaf = true;
    return Heard::kSomething;
  }
  heard.append(bytes.data(), static_cast<std::size_t>(count));
  if (heard.size() < kStartupHeaderBytes || number_at(heard, 0) != heard.size()) {
    return Heard::kSomething;
  }
  if (heard.size() > kStartupHeaderBytes) return Heard::kStartup;
  heard.clear();
  if (::send(end.socket.get(), "N", 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1) {
    end.ended = end.deaf = true;
  }
  return Heard::kSomething;
}

std::uint32_t ServerEnd::client_id() const {
  return heard.size() < 12 ? 0 : number_at(heard, 8);
}

}  // namespace pg_gateway::test
